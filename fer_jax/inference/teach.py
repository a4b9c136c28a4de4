"""`fer-jax teach`: adds a user's own class to a trained model, from a few pictures and the run's exemplars.

No network is trained: the model's features of the exemplars and of the pictures give linear discriminants, which answer
in the place of the model's head. A model's features were learned without the new class, whose raw score seldom wins and
has no held-out image to be set by. As in `phases.shots_by_statistics` it passes a threshold instead. All classes that
a model was taught share one, by which they take together the share `few_shot.taken` of the validation images of the
classes that the run knows: however many are taught, these never lose more of their validation images.
"""

import dataclasses
import hashlib
import json
import pathlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from fer_jax.classifiers import CLASSIFIERS, Exemplars, Linear
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.images import printable, read_image
from fer_jax.data.listing import class_name, one_spelling
from fer_jax.errors import UserError
from fer_jax.inference import calibration, taught, trained
from fer_jax.inference.predict import Predictor
from fer_jax.inference.taught import Taught, TaughtClass
from fer_jax.inference.trained import Trained
from fer_jax.phases.answers import best_penalty
from fer_jax.phases.memory import base_memory
from fer_jax.phases.shots_by_statistics import threshold
from fer_jax.protocol import Split, chooses
from fer_jax.runs.progress import log

MOST_IMAGES = 50
LONGEST_NAME = 60
# From 1, 3, 5 and 20 images of each of 15 classes it was ahead of the nearest class mean, by up to six points of the
# harmonic mean: on validation people of a development seed, with and without a contrastive base model.
CLASSIFIER = CLASSIFIERS["exemplar_discriminant"]


class Held(NamedTuple):
    """Held-out images of the classes that a run knows: features f32[R, D], labels i[R]."""

    features: np.ndarray
    labels: np.ndarray


def checked_name(name: str, said: str = "--class") -> str:
    """Checks a new class's name by itself, and returns it in NFC; it is also the name of a folder.

    Args:
      said: what the user calls it.

    Raises:
      UserError: it cannot be one.
    """
    spelled = one_spelling(name)
    # Scripts of India write vowels as marks (M), which are no letters to Python.
    if not name.strip() or name != name.strip() or len(spelled) > LONGEST_NAME or not spelled[0].isalnum() or not all(
        one.isalnum() or one in " -_" or unicodedata.category(one).startswith("M") for one in spelled
    ):  # fmt: skip
        raise UserError(
            f"{said} is {name!r}; it may be up to {LONGEST_NAME} letters, digits, spaces, hyphens and underscores"
        )
    return spelled


def check_unknown(model: Trained, name: str, said: str = "--class") -> None:
    """Checks that a model does not know a class yet, however it is spelled: case, spaces and underscores are alike.

    Args:
      said: what the user calls the class.

    Raises:
      UserError: it knows the class.
    """
    if _compared(name) in map(_compared, model.known_names):
        raise UserError(f"{said} is {name!r}, which the model knows; it may be another than "
                        f"{', '.join(model.known_names)}")  # fmt: skip


def _compared(name: str) -> str:
    return class_name(name.replace("_", " "))


def digests(files: list[pathlib.Path]) -> tuple[str, ...]:
    """Returns the SHA-256 of files' bytes.

    Raises:
      UserError: there are too many, or one file twice.
    """
    if len(files) > MOST_IMAGES:
        raise UserError(f"{len(files)} pictures are given; there may be 1 to {MOST_IMAGES}")
    found = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    for i, one in enumerate(found):
        if (first := found.index(one)) < i:
            raise UserError(f"{printable(files[i])} is the same file as {printable(files[first])}; take it once")
    return tuple(found)


def faces(predictor: Predictor, files: list[pathlib.Path], sha256: tuple[str, ...]) -> np.ndarray:
    """Returns the face in each picture, u8[n, S, S, 3].

    Raises:
      UserError: a picture that cannot be read, has no face, or was taught before, by file or by pixels.
    """
    found: dict[str, np.ndarray] = {}
    for file, digest in zip(files, sha256, strict=True):
        _, face = predictor.look(read_image(file))
        if face is None:
            raise UserError(f"{printable(file)} has no face; take one that has, or --cropped if it is a face already")
        check_face(predictor.trained, printable(file), digest, face, found)
        found[printable(file)] = face
    return np.stack(list(found.values()))


def check_face(model: Trained, picture: str, digest: str, face: np.ndarray, others: Mapping[str, np.ndarray]) -> None:
    """Checks that a face u8[S, S, 3] is new to a model, and that no other picture shows the very same.

    Args:
      picture: what its picture is called. digest: the SHA-256 of that.
      others: faces by what their pictures are called.

    Raises:
      UserError: it is not.
    """
    for one in model.taught.classes if model.taught else ():
        if digest in one.sha256 or any((face == other).all() for other in one.images):
            raise UserError(f"{picture} was taught before, as {one.name}; take another picture")
    for other, seen in others.items():
        if (face == seen).all():
            raise UserError(f"{picture} shows the same face as {other}; each may be there once")


def teach(model: Trained, new: TaughtClass, folder: pathlib.Path) -> Taught:
    """Learns a new class beside those that a model knows, writes the model that knows it, and calibrates that.

    Args:
      model: as `restore` returns it, of a run or taught before.
      new: the class and its faces, checked.
      folder: of the new model; new or empty.

    Returns:
      what was written, as `learn` describes it.

    Raises:
      UserError: as `learn` says, or the folder has files.
    """
    taught.check_new(folder)
    data, _ = trained.load_data(model.source)
    learned = learn(model, new, folder, data)
    taught.write(learned.taught)
    calibration.of(learned, data)
    return learned.taught


def learn(
    model: Trained, new: TaughtClass, folder: pathlib.Path, data: FaceArrays, tell: Callable[[str], None] = log.info
) -> Trained:
    """Learns a new class beside those that a model knows; writes nothing.

    Args:
      model: as `restore` returns it, of a run or taught before.
      new: the class and its faces, checked.
      folder: where the new model will lie.
      data: the run's data set.
      tell: is told in words what is done.

    Returns:
      the model that knows the class. The `learned` of its `taught` has the `classifier` and its `penalty`; `held_out`,
      accuracies on the test `images` of the classes that the run knows, `before` and `after`, and the same of each
      class in `classes`; and `left_out`, how many of the new images are answered `right` when the class is learned
      without them, of how many, or None of one image.

    Raises:
      UserError: the data have changed since, or the method stores no exemplars.
    """
    source = model.source
    tell("reading the run's exemplars")
    data, split = trained.load_data(source, data)
    known, classes = source.class_mask, (*(model.taught.classes if model.taught else ()), new)
    stored = exemplars(source, data, split, classes)
    validation = _held(source, data, split.validation)
    tell(f"learning {new.name} from {len(new.images)} images, beside {len(model.known_names)} classes")
    may = chooses(model.config.protocol.name)
    penalty = chosen(stored, known, validation) if may else CLASSIFIER.middle
    lesson = Lesson(stored, known, validation, penalty, model.config.few_shot.taken)
    facts = {"classifier": CLASSIFIER.name, "penalty": lesson.penalty, "taken": lesson.taken}
    new_model = Taught(
        folder, model.workdir, model.method, model.fold, model.order, source.digest, classes, lesson.learned(), facts
    )
    after = trained.taught_classes(source, new_model)
    tell("measuring on held-out test images what was forgotten")
    held_out = _held_out(model, after, data, split.test)
    tell(f"learning {new.name} without each of its images in turn")
    left_out = lesson.left_out(after.class_names.index(new.name), len(new.images))
    facts = {**facts, "held_out": held_out, "left_out": left_out}
    return dataclasses.replace(after, taught=dataclasses.replace(new_model, learned=facts))


def _held_out(before: Trained, after: Trained, data: FaceArrays, rows: np.ndarray) -> dict:
    """Returns accuracies of two models on test images `rows`, over the classes that the run knows and of each class.

    A class that was taught and that the data set has is among the latter; before it is known its accuracy is None.
    """
    known = after.source.class_mask
    rows = rows[after.class_mask[data.label[rows]]]
    labels = data.label[rows]
    right = {
        "before": _answers(before, data.image[rows]) == labels,
        "after": _answers(after, data.image[rows]) == labels,
    }
    classes = {}
    for c in np.flatnonzero(np.bincount(labels, minlength=len(known))):
        own, new = labels == c, not before.class_mask[c]
        classes[after.class_names[c]] = {
            "before": None if new else float(np.mean(right["before"][own])),
            "after": float(np.mean(right["after"][own])), "images": int(own.sum()),
        }  # fmt: skip
    own = known[labels]
    overall = {when: float(np.mean(one[own])) for when, one in right.items()}
    return {**overall, "images": int(own.sum()), "classes": classes}


def exemplars(source: Trained, data: FaceArrays, split: Split, classes: tuple[TaughtClass, ...]) -> Exemplars:
    """Returns the features of a run's exemplars and of the taught classes' images, in the columns of `taught.columns`.

    Raises:
      UserError: the method stores no exemplars.
    """
    names = taught.columns(source.class_names, tuple(one.name for one in classes))
    index = memory(source, data, split)
    seen = trained.features(source, data.image[index[index >= 0]])
    of_class = np.repeat(np.arange(len(index)), (index >= 0).sum(1))
    groups = [seen[of_class == c] if c < len(index) else seen[:0] for c in range(len(names))]
    for one in classes:
        groups[names.index(one.name)] = trained.features(source, one.images)
    most = max(map(len, groups))
    filled = np.arange(most) < np.array([[len(group)] for group in groups])
    padded = np.stack([np.pad(group, ((0, most - len(group)), (0, 0))) for group in groups])
    return Exemplars(jax.device_put(padded), jax.device_put(filled))


def memory(source: Trained, data: FaceArrays, split: Split) -> np.ndarray:
    """Returns the images that a run's model has as exemplars, i[C, M], -1 padded.

    Raises:
      UserError: the method stores no exemplars.
    """
    stored = source.stored
    if source.method != trained.BASE:
        index = np.asarray(stored.learned.memory.index)
        if not (index >= 0).any():
            raise UserError(f"--method is {source.method}, which stores no exemplars that could be replayed; it may be "
                            f"one that does, such as kd_psmr, or {trained.BASE}")  # fmt: skip
        return index
    config = ml_collections.ConfigDict(stored.fold.config.to_dict())
    config.continual.cut = "head"
    fold = dataclasses.replace(
        stored.fold, config=ml_collections.FrozenConfigDict(config), data=data, images=data.image,
        labels=jax.device_put(data.label), split=split,
    )  # fmt: skip
    # Only images of the base classes are looked at, so no other is encoded.
    rows = fold.train_rows(fold.base_mask())
    seen = np.zeros((len(data.label), fold.network.backbone.feature_width), np.float32)
    seen[rows] = trained.features(source, data.image[rows])
    fold.cache.get(stored.base, ("clean", "head", False), lambda: jax.device_put(seen))
    return np.asarray(base_memory(fold, stored.base, config.few_shot.exemplars or fold.exemplars(0)).index)


def _held(source: Trained, data: FaceArrays, rows: np.ndarray) -> Held:
    rows = rows[source.class_mask[data.label[rows]]]
    return Held(trained.features(source, data.image[rows]), data.label[rows])


def _answers(model: Trained, images: np.ndarray) -> np.ndarray:
    """Returns the model's answer to each image, i[N]."""
    return np.where(model.class_mask, trained.scores(model, images), -np.inf).argmax(1)


def chosen(stored: Exemplars, known: np.ndarray, validation: Held) -> float:
    """Returns the penalty that answers most validation images right among the known classes bool[C] alone."""
    known = _padded(known, stored)
    own = stored._replace(filled=stored.filled & known[:, None])
    right = {}
    for penalty in CLASSIFIER.penalties:
        scores = np.where(known, _linear(own, penalty)(validation.features), -np.inf)
        right[penalty] = float(np.mean(scores.argmax(1) == validation.labels))
    return best_penalty(right)


def _padded(known: np.ndarray, stored: Exemplars) -> np.ndarray:
    """Returns the known classes of a run as those of all columns, bool[columns]."""
    return np.pad(known, (0, len(stored.filled) - len(known)))


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What taught classes are learned from.

    stored: `Exemplars` of all columns: the run's C classes, and those beside them.
    known: bool[C], the classes that the run knows; all others with exemplars are taught.
    validation: held-out images of the known classes.
    penalty: of the classifier. taken: the share of validation images that the taught classes take.
    """

    stored: Exemplars
    known: np.ndarray
    validation: Held
    penalty: float
    taken: float

    def learned(self, without: tuple[int, int] | None = None) -> Linear:
        """Returns the classifier, its taught classes lowered by their threshold.

        Args:
          without: an exemplar (column, place) that is left out.
        """
        filled = self.stored.filled if without is None else self.stored.filled.at[without].set(False)
        linear = _linear(self.stored._replace(filled=filled), self.penalty)
        known, taught_ = self._masks()
        scores = np.asarray(linear(self.validation.features))
        passed = threshold(scores, known, taught_, self.taken)
        return linear._replace(bias=linear.bias - passed * taught_)

    def left_out(self, column: int, images: int) -> dict | None:
        """Returns how many of a class's images are answered right when it is learned without them, one at a time."""
        if images < 2:
            return None
        seen, right = np.logical_or(*self._masks()), 0
        for place in range(images):
            scores = np.asarray(self.learned((column, place))(self.stored.features[column, place]))
            right += int(np.where(seen, scores, -np.inf).argmax() == column)
        return {"right": right, "images": images}

    def _masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the known and the taught classes, bool[columns]."""
        known = _padded(self.known, self.stored)
        return known, np.asarray(self.stored.filled).any(1) & ~known


@jax.jit
def _linear(stored: Exemplars, penalty: float) -> Linear:
    return CLASSIFIER.linear(CLASSIFIER.fit(stored), penalty)


def as_json(made: Taught) -> str:
    """Describes a taught model as one JSON document."""
    model = {"method": made.method, "fold": made.fold, "order": made.order, "sha256": made.model_sha256}
    classes = [{"name": one.name, "images": len(one.images)} for one in made.classes]
    return json.dumps({"out": str(made.folder), "taught_from": model, "classes": classes, **made.learned}, indent=1)


def lines(made: Taught) -> list[str]:
    """Describes a taught model in lines for the user."""
    new, held_out, left_out = made.classes[-1], made.learned["held_out"], made.learned["left_out"]
    alone = "one image, so that none can be left out" if left_out is None else (
        f"{left_out['right']} of {left_out['images']} images are answered right when it is learned without them"
    )  # fmt: skip
    return [
        f"known classes: accuracy {100 * held_out['before']:.1f} % before, {100 * held_out['after']:.1f} % after, on "
        f"{held_out['images']} test images of the run",
        f"{new.name}: {alone}",
        f"written: {made.folder}",
    ]
