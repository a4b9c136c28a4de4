"""The folder of a taught model: which run's model it builds on, the pictures of its new classes, and its head.

`taught.json` has what can be read, `model.npz` the arrays. A folder appears whole or not at all, and is never changed.
"""

import dataclasses
import glob
import json
import os
import pathlib
import shutil

import numpy as np

from fer_jax.classifiers import Linear
from fer_jax.errors import UserError
from fer_jax.inference.linear_head import DAMAGE
from fer_jax.runs.lock import lives
from fer_jax.runs.results import write_json

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class TaughtClass:
    """A class that a user taught.

    files: the pictures' names, as they were given.
    sha256: of the files' bytes.
    images: u8[n, S, S, 3], the faces in them.
    """

    name: str
    files: tuple[str, ...]
    sha256: tuple[str, ...]
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class Taught:
    """What is known of a taught model beside the model of the run that it builds on.

    folder: where it lies. workdir: the run's.
    method, fold, order: the run's model. model_sha256: of its network.
    classes: in the order in which they were taught.
    linear: the classifier over the C classes of the run's data set, then those that are taught and not among them.
    learned: how the last class was learned, and the accuracies that `teach` reports; plain values.
    """

    folder: pathlib.Path
    workdir: pathlib.Path
    method: str
    fold: int
    order: int | None
    model_sha256: str
    classes: tuple[TaughtClass, ...]
    linear: Linear
    learned: dict

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the taught classes, in their order."""
        return tuple(one.name for one in self.classes)

    def check_choice(self, method: str | None, fold: int | None, order: int | None) -> None:
        """Checks that flags name no other model than the one that was taught.

        Raises:
          UserError: they do.
        """
        for flag, given in (("method", method), ("fold", fold), ("order", order)):
            if given is not None and given != getattr(self, flag):
                raise UserError(
                    f"--{flag} is {given}; --workdir {self.folder} was taught from the model of --{flag} "
                    f"{getattr(self, flag)}, and has no other"
                )


def is_one(folder: pathlib.Path) -> bool:
    """Returns True for the folder of a taught model."""
    return (folder / "taught.json").is_file()


def columns(class_names: tuple[str, ...], taught: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of a head's columns: those of the run, then the taught classes that are not among them.

    >>> columns(("happy", "sad", "awed"), ("awed", "smirk"))
    ('happy', 'sad', 'awed', 'smirk')
    """
    return (*class_names, *(name for name in taught if name not in class_names))


def read(folder: pathlib.Path) -> Taught:
    """Reads the folder of a taught model.

    Raises:
      UserError: it is damaged, or of another version.
    """
    try:
        described = json.loads((folder / "taught.json").read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise UserError(f"--workdir {folder} was taught by another version of fer_jax; teach it again")
        with np.load(folder / "model.npz") as arrays:
            linear = Linear(arrays["kernel"], arrays["bias"])
            images = [arrays[f"images{i}"] for i in range(len(described["classes"]))]
        classes = tuple(
            TaughtClass(one["name"], tuple(one["files"]), tuple(one["sha256"]), faces)
            for one, faces in zip(described["classes"], images, strict=True)
        )
        chosen = {key: described[key] for key in ("method", "fold", "order", "model_sha256", "learned")}
        if not isinstance(chosen["learned"]["classifier"], str):
            raise TypeError("learned.classifier is no text")
        if linear.kernel.ndim != 2 or linear.bias.shape != linear.kernel.shape[1:]:
            raise ValueError(f"kernel {linear.kernel.shape} and bias {linear.bias.shape} are of no classifier")
        return Taught(folder, (folder / described["workdir"]).resolve(), classes=classes, linear=linear, **chosen)
    except (*DAMAGE, TypeError) as error:
        raise UserError(f"--workdir {folder} is damaged ({type(error).__name__}: {error}); teach it again") from None


def check_new(folder: pathlib.Path) -> None:
    """Checks that a folder is free for a taught model.

    Raises:
      UserError: something is there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and a taught model is never changed; --out may be another folder")


def write(taught: Taught) -> None:
    """Writes a taught model into its folder, by one rename from a folder beside it: a kill leaves nothing half done.

    Raises:
      UserError: something is in the folder.
    """
    target = taught.folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    # The beginning of its name: all of it and more may be too long for a file system.
    prefix = f".{target.name[:20]}.taught.{os.uname().nodename}."
    made = target.with_name(f"{prefix}{os.getpid()}")
    for left in target.parent.glob(f"{glob.escape(prefix)}*"):
        pid = left.name.removeprefix(prefix)
        if pid.isdigit() and (int(pid) == os.getpid() or not lives(int(pid))):  # it was killed here
            shutil.rmtree(left, ignore_errors=True)
    try:
        made.mkdir()
        arrays = {f"images{i}": one.images for i, one in enumerate(taught.classes)}
        np.savez(made / "model.npz", kernel=taught.linear.kernel, bias=taught.linear.bias, **arrays)
        write_json(made / "taught.json", _described(taught, target))
        check_new(taught.folder)
        os.rename(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _described(taught: Taught, target: pathlib.Path) -> dict:
    return {
        "format": FORMAT,
        "workdir": os.path.relpath(taught.workdir.resolve(), target),
        "method": taught.method,
        "fold": taught.fold,
        "order": taught.order,
        "model_sha256": taught.model_sha256,
        "classes": [
            {"name": one.name, "images": len(one.images), "files": one.files, "sha256": one.sha256}
            for one in taught.classes
        ],
        "learned": taught.learned,
    }
