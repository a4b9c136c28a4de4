"""The models of a server: the one that it was started with, and those that were taught from it and accepted."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import threading

import numpy as np

from fer_jax.data.arrays import FaceArrays
from fer_jax.data.classes import parents
from fer_jax.errors import UserError
from fer_jax.inference import calibration, model_card, taught, teach, trained
from fer_jax.inference import predict as predicting
from fer_jax.inference.predict import Predictor
from fer_jax.inference.taught import Taught
from fer_jax.inference.trained import Trained
from fer_jax.protocol import Split
from fer_jax.runs.progress import log
from fer_jax.serve.limits import Refusal
from fer_jax.serve.pictures import as_url

FIRST = "first"  # the key of the model that the server was started with
LOADED = 8  # models at once
SHOWN = 60  # exemplars of a class
THUMBNAIL = 64  # pixels


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model in the list.

    key: what requests name it by. name: what the page calls it. made_from: the key of the model that it was taught
    from, None of the first one. taught: None of the first one.
    """

    key: str
    name: str
    made_from: str | None
    taught: Taught | None


class Shelf:
    """Finds models, loads them, and stores those that are accepted.

    Args:
      first: answers; what is taught lies in `taught/` of its folder.
    """

    def __init__(self, first: Predictor):
        self._first = first
        self._lock = threading.RLock()
        self._loaded: dict[str, Predictor] = {}
        self._read: dict[str, Taught | None] = {}

    @property
    def first(self) -> Predictor:
        """The model that the server was started with."""
        return self._first

    def entries(self) -> list[Entry]:
        """Returns all models, the first one first, then the others as they were accepted."""
        with self._lock:
            root = Entry(FIRST, _name(self._first.trained), None, None)
            found: list[tuple[float, Entry]] = []
            self._below(root.key, self._first.trained.home, found)
        return [root, *(entry for _, entry in sorted(found, key=lambda one: (one[0], one[1].key)))]

    def _below(self, made_from: str, home: pathlib.Path, found: list[tuple[float, Entry]]) -> None:
        for described in sorted(home.glob("taught/*/taught.json")):
            folder, key = described.parent, self._key(described)
            if folder.name.startswith("."):  # being written, or left by a kill
                continue
            if key not in self._read:
                self._read[key] = self._usable(folder)
            if (one := self._read[key]) is not None:
                name = f"+ {one.classes[-1].name}"
                found.append((described.stat().st_mtime, Entry(key, name, made_from, one)))
                self._below(key, folder, found)

    def _key(self, described: pathlib.Path) -> str:
        """Returns the key of the model that a file describes; another one in the same folder has another key."""
        place, written = described.relative_to(self._first.trained.home), described.stat().st_mtime_ns
        return hashlib.sha256(f"{place} {written}".encode()).hexdigest()[:16]

    def _usable(self, folder: pathlib.Path) -> Taught | None:
        """Returns a taught model; None, with a warning, if it is damaged or of another model than the first one."""
        try:
            one = taught.read(folder)
        except UserError as error:
            log.warning("left out of the list of models: %s", error)
            return None
        if one.model_sha256 != self._first.trained.source.digest:
            log.warning("left out of the list of models: %s was taught from another model of the run", folder)
            return None
        return one

    def predictor(self, key: str) -> Predictor:
        """Returns a model that is ready to answer one face at a time.

        Raises:
          Refusal: 404, there is none.
        """
        if key == FIRST:
            return self._first
        with self._lock:
            entry = next((one for one in self.entries() if one.key == key), None)
            if entry is None or entry.taught is None:
                raise Refusal(404, f"model is {key[:80]!r}, which is not there; it may be a key of GET /models")
            predictor = self._loaded.pop(key, None)
            if predictor is None:
                model = trained.taught_classes(self._first.trained.source, entry.taught)
                predictor = self.ready(model, calibration.of(model))
            self._hold(key, predictor)
            return predictor

    def ready(self, model: Trained, fitted: dict) -> Predictor:
        """Returns the predictor of a model, compiled for one face."""
        predictor = dataclasses.replace(self._first, trained=model, calibration=fitted)
        warm(predictor)
        return predictor

    def _hold(self, key: str, predictor: Predictor) -> None:
        """Holds a model ready; of too many, the one that was asked longest ago is dropped."""
        while len(self._loaded) >= LOADED:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[key] = predictor

    def prepare(self) -> None:
        """Prepares the first model's answer, and reads the data by which classes are taught, before other threads run.

        TFDS replaces Python's import while it is imported, and what another thread imports meanwhile is no module.
        """
        try:
            warm(self._first)
            _ = self.data
        except UserError as error:
            log.warning("no class can be taught: %s", error)

    @functools.cached_property
    def data(self) -> tuple[FaceArrays, Split]:
        """The data set of the run and the split of its fold, read once."""
        return trained.load_data(self._first.trained.source)

    def free_folder(self, home: pathlib.Path) -> pathlib.Path:
        """Returns a folder for what is taught next to a model: a number, whatever the class is called."""
        numbers = (home / "taught" / str(number) for number in itertools.count(1))
        return next(folder for folder in numbers if not folder.exists())

    def accept(self, draft: Predictor) -> str:
        """Stores a model that was taught; returns its key.

        Raises:
          OSError: it cannot be written.
        """
        with self._lock:
            made = draft.trained.taught
            folder = self.free_folder(made.folder.parents[1])
            made = dataclasses.replace(made, folder=folder)
            taught.write(made)
            model = dataclasses.replace(draft.trained, taught=made)
            calibration.save(model, draft.calibration)
            key = self._key(folder / "taught.json")
            self._hold(key, dataclasses.replace(draft, trained=model))
            return key

    def exemplars(self, model: Trained) -> list[dict]:
        """Describes what is replayed when a model is taught: how many images of each class, and small pictures of them.

        Of the run's classes these are exemplars, of `taught` ones the images that the user taught them by.
        """
        return [
            *self._of_run,
            *(_shown(one.name, one.images, True) for one in (model.taught.classes if model.taught else ())),
        ]

    @functools.cached_property
    def _of_run(self) -> list[dict]:
        source = self._first.trained.source
        data, split = self.data
        index = teach.memory(source, data, split)
        return [
            _shown(name, data.image[rows[rows >= 0]], False)
            for name, rows in zip(source.class_names, index, strict=True) if (rows >= 0).any()
        ]  # fmt: skip


def _shown(name: str, images: np.ndarray, by_user: bool) -> dict:
    small = [as_url(image, THUMBNAIL) for image in images[:SHOWN]]
    return {"class": name, "taught": by_user, "images": len(images), "pictures": small}


def warm(predictor: Predictor) -> None:
    """Prepares the answer to one face."""
    size = predictor.trained.image_size
    predictor.probabilities(np.zeros((1, size, size, 3), np.uint8))


def described(predictor: Predictor) -> dict:
    """Describes a model for the page: its classes, what compound ones are made of, calibration, notices."""
    model = predictor.trained
    base = model.class_names[: model.config.data.n_base]
    names = model.taught.names if model.taught else ()
    return {
        **predicting.described(predictor),
        "classes": [
            {"name": name, "base": name in base, "taught": name in names, "parents": parents(name, base)}
            for name in model.known_names
        ],
        "calibrated": predicting.calibration_line(predictor.calibration),
        "card": model_card.sections(model, predictor.calibration),
        "notice": predicting.DRAWN if model.config.data.name == "facs_faces" else None,
        "pixels": model.image_size,
    }  # fmt: skip


def _name(model: Trained) -> str:
    order = "" if model.order is None else f", order {model.order}"
    more = "".join(f" + {name}" for name in model.taught.names) if model.taught else ""
    return f"{model.method}, fold {model.fold}{order}{more}"
