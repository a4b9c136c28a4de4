"""A finished run as arrays: metrics, confusions, memory, features and predictions. It is only read."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from fer_jax.errors import UserError, import_extra
from fer_jax.inference import predict as predicting
from fer_jax.inference import trained
from fer_jax.inference.predict import Predictor
from fer_jax.report import record
from fer_jax.runs import remote
from fer_jax.runs import results as stored

Path = str | pathlib.Path


@dataclasses.dataclass(frozen=True)
class Run:
    """The results of one run, or of all runs of a sweep.

    A method has one entry for each fold, class order and seed. Where a function takes `fold`, `order` and `seed`, they
    name the entry; None takes the first that fits.

    workdir: its folder, or a copy of one in an object store that goes with this process.
    results: of results.json, as docs/results_schema.md describes it.
    """

    workdir: pathlib.Path
    results: dict = dataclasses.field(repr=False)
    _predictors: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of the config; a further classifier's name follows in brackets."""
        return tuple(stored.by_method(self.results))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C names of the classes, those of the base task first."""
        return tuple(self.results["data"]["classes"])

    def metrics(self, method: str) -> dict[str, np.ndarray]:
        """Returns every metric of a method by name, f64[R], one value for each of its R entries; NaN where it has none.

        Raises:
          UserError: the run has no such method.
        """
        entries = [entry["metrics"] for entry in self._entries(method)]
        names = dict.fromkeys(name for entry in entries for name in entry)
        return {name: np.array([entry.get(name) for entry in entries], np.float64) for name in names}

    def accuracy(
        self, method: str, fold: int | None = None, order: int | None = None, seed: int | None = None
    ) -> np.ndarray:
        """Returns the accuracy on each class after each step, f64[T, C]; NaN before a class is learned.

        Raises:
          UserError: the run has no such method or entry.
        """
        return np.array(self._entry(method, fold, order, seed)["accuracy_matrix"], np.float64)

    def confusions(
        self, method: str, fold: int | None = None, order: int | None = None, seed: int | None = None
    ) -> dict[int, np.ndarray]:
        """Returns the test images by true class (row) and answer (column), i64[C, C] by step; step 0 is the base task.

        Raises:
          UserError: the run has no such method or entry, or its checkpoints are gone.
        """
        measured = record.steps(self._checkpoints(method, fold, order, seed))
        return {step: np.array(counts, np.int64) for step, counts in record.confusions(measured, method)}

    def memory(
        self, method: str, fold: int | None = None, order: int | None = None, seed: int | None = None
    ) -> dict[int, np.ndarray]:
        """Returns the stored images as indices into the data set, i32[C, m] by step; -1 is an empty place.

        Raises:
          UserError: the run has no such method or entry, its checkpoints are gone, or too old to tell.
        """
        found = record.memories(self._checkpoints(method, fold, order, seed))
        if found is None:
            raise UserError(f"the checkpoints of {method} in {self.workdir} do not tell what its memory held")
        return found

    def model(self, method: str | None = None, fold: int | None = None, order: int | None = None) -> trained.Trained:
        """Restores a model after its last increment, as `inference.trained.restore`; None is the run's first method."""
        return self._predictor(method, fold, order).trained

    def features(
        self, images: np.ndarray, method: str | None = None, fold: int | None = None, order: int | None = None
    ) -> np.ndarray:
        """Computes the backbone's features f32[N, D] of faces u8[N, S, S, 3].

        Raises:
          UserError: images of another shape or type, or as `model`.
        """
        model = self.model(method, fold, order)
        return trained.features(model, _checked(images, model.image_size))

    def predict(
        self, images: np.ndarray, method: str | None = None, fold: int | None = None, order: int | None = None
    ) -> np.ndarray:
        """Computes calibrated probabilities f64[N, C] of faces u8[N, S, S, 3]; 0 for classes that are not learned yet.

        Raises:
          UserError: images of another shape or type, or as `model`.
        """
        predictor = self._predictor(method, fold, order)
        return trained.in_batches(predictor.probabilities, _checked(images, predictor.trained.image_size))

    def to_dataframe(self, phase: str = "continual") -> Any:
        """Returns a pandas table: a row for each method and entry, or with "few_shot" for each class and draw.

        Raises:
          UserError: pandas is not installed (extra `pandas`), or there is no such phase.
        """
        pandas = import_extra("pandas", "pandas", "Run.to_dataframe needs pandas")
        if phase == "few_shot":
            return pandas.DataFrame(self.results["few_shot"]["rows"])
        if phase != "continual":
            raise UserError(f"phase is {phase!r}; it may be continual or few_shot")
        shown = ("seed", "fold", "order", "seconds")
        rows = [
            {"method": method, "seed": self.results["seed"], **{key: run[key] for key in shown if key in run},
             **run["metrics"]}
            for method in self.methods
            for run in self._entries(method)
        ]  # fmt: skip
        return pandas.DataFrame(rows)

    def _entries(self, method: str) -> list[dict]:
        there = stored.by_method(self.results)
        if method not in there:
            raise UserError(f"method is {method!r}; it may be one of {', '.join(there)}")
        return there[method]["runs"]

    def _entry(self, method: str, fold: int | None, order: int | None, seed: int | None) -> dict:
        wanted = {"fold": fold, "order": order, "seed": seed}
        for entry in self._entries(method):
            here = {"seed": self.results["seed"], **entry}
            if all(value is None or here[name] == value for name, value in wanted.items()):
                return entry
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        raise UserError(f"{self.workdir} has no entry of {method} with {asked}")

    def _checkpoints(self, method: str, fold: int | None, order: int | None, seed: int | None) -> pathlib.Path:
        entry = self._entry(method, fold, order, seed)
        merged = self.results.get("merged")
        workdirs = [pathlib.Path(one) for one in merged["runs"]] if merged else [self.workdir]
        found = record.find(self.results, workdirs, method, entry)
        if found is None:
            raise UserError(f"the checkpoints of {method} in {self.workdir} are not there, or cannot be read")
        return found

    def _predictor(self, method: str | None, fold: int | None, order: int | None) -> Predictor:
        asked = method, fold, order
        if asked not in self._predictors:
            model = trained.restore(self.workdir, *asked)
            self._predictors[asked] = predicting.build(model, cropped=True)
        return self._predictors[asked]


def load_run(workdir: Path) -> Run:
    """Loads the results of a run's workdir, a sweep's folder, or a folder of merged results.

    Raises:
      UserError: there are none; a run writes them when it ends.
    """
    workdir = remote.readable(workdir)
    return Run(workdir, stored.restated(stored.read(workdir)))


def predict(
    workdir: Path, pictures: Path | list[Path], top: int = 3, cropped: bool = False, method: str | None = None
) -> list[dict]:
    """Answers pictures by a trained model, as `fer-jax predict` does: finds the face in each, cuts and classifies it.

    `Run.predict` answers arrays of faces.

    Args:
      workdir: of a run, or of a model that was taught classes.
      pictures: files, or folders of files.
      top: how many classes an answer lists.
      cropped: the pictures are faces already, so none is searched for.
      method: None is the run's first method; `base` is the base model.

    Returns:
      one answer a file: `file`, `outcome` (`answered`, `no face` or `unreadable`) and `classes`, a list of `class` and
      `probability`.

    Raises:
      UserError: no such model or picture.
    """
    named = pictures if isinstance(pictures, list) else [pictures]
    files = predicting.pictures([pathlib.Path(one) for one in named])
    predicting.check_top(top)
    predictor = predicting.build(trained.restore(remote.readable(workdir), method), cropped)
    return list(predicting.answers(predictor, files, top))


def _checked(images: np.ndarray, size: int) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or not len(images):
        raise UserError(
            f"images are {images.dtype}{list(images.shape)}; they may be uint8[N, {size}, {size}, 3] with N from 1"
        )
    return images
