"""One fold of an experiment: the data, the model, the split, and where to write; the phases share it."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import protocol, replay
from fer_jax.config import names
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.models import backbones, precision
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.models.preparation import Preparation
from fer_jax.objectives import Augmentation, Objective
from fer_jax.phases.trunk_cache import TrunkCache
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Progress
from fer_jax.runs.slots import Slot
from fer_jax.training import devices
from fer_jax.training.batch import Batch

Params = Any


def build_network(config: ml_collections.ConfigDict, n_classes: int, computes: str | None = None) -> Network:
    """Builds the network that a resolved config describes, with a head over all C classes.

    computes: the precision; None is that of the config.
    """
    m = config.model
    dtype = precision.dtype(computes or m.precision)
    head = ExpressionHead(hidden=tuple(m.hidden), n_classes=n_classes, dropout=m.dropout, dtype=dtype)
    return Network(
        backbones.build(m).clone(dtype=dtype), head, input_range=m.input_range, preparation=Preparation.of(m)
    )


@dataclasses.dataclass(frozen=True)
class Fold:
    """One fold of an experiment; everything a phase needs but a model.

    images u8[N, H, W, 3] are on the device or, as a NumPy array, on the host (`data.residency`), labels i32[N] on the
    device; `split` holds indices into them. `weights` is where the backbone starts, None for random ones; `shared` is
    where runs share base models, None trains one for this run alone. `cache` holds what frozen trunks made. `basic` is
    the folder of the base model's checkpoints.
    """

    config: ml_collections.FrozenConfigDict
    data: FaceArrays
    network: Network
    images: np.ndarray | jax.Array
    labels: jax.Array
    number: int
    split: protocol.Split
    checkpoints: pathlib.Path
    progress: Progress
    saving: Saving
    weights: backbones.Weights | None = None
    shared: pathlib.Path | None = None
    cache: TrunkCache = dataclasses.field(default_factory=TrunkCache)
    basic: str = "basic"

    def slot(self, *names: str) -> Slot:
        """Returns where a part of this fold's work saves its checkpoints, such as slot("kd_psmr", "order0")."""
        return Slot(self.checkpoints.joinpath(f"fold{self.number}", *names), self.saving)

    @property
    def n_classes(self) -> int:
        """C, classes of the data set."""
        return len(self.data.class_names)

    @property
    def n_base(self) -> int:
        """Classes of the base task."""
        return self.config.data.n_base

    @functools.cached_property
    def augmentation(self) -> Augmentation | None:
        """The config's augmentation; None where nothing is to be changed."""
        return names.augmentation(self.config.augment)

    @property
    def restore(self) -> str:
        """Which weights end a fit whose epochs ran out: the best; `published` and `stratified` the last."""
        return "always" if self.config.protocol.name == "held_out" else "on_stop"

    @property
    def per_increment(self) -> int:
        """New classes of an increment."""
        return self.config.protocol.classes_per_increment

    @functools.cached_property
    def test_counts(self) -> np.ndarray:
        """Test images of every class, i64[C]."""
        return np.bincount(self.data.label[self.split.test], minlength=self.n_classes)

    @functools.cached_property
    def longest_class(self) -> int:
        """The most training images that any class has."""
        return int(np.bincount(self.data.label[self.split.train], minlength=1).max())

    @functools.cached_property
    def _placed(self) -> dict[str, jax.Array]:
        """Subjects and targets that were asked for, on the device."""
        return {"subject": devices.placed(jnp.asarray(self.data.subject))}

    @functools.cached_property
    def units(self) -> jax.Array:
        """The action units of all N images, f32[N, U], on the device."""
        return devices.placed(jnp.asarray(self.data.targets[UNITS], jnp.float32))

    @property
    def n_units(self) -> int:
        """U, how many action units the data set knows; without data, as it says of itself."""
        there = self.data.targets.get(UNITS)
        return len(self.data.metadata.get(UNITS, ())) if there is None else there.shape[1]

    def width(self, reads: str) -> int:
        """Returns how many numbers a classifier is given of an image, by what it reads (`Classifier.reads`)."""
        features = 0 if reads == "units" else self.network.backbone.feature_width
        return features + (0 if reads == "features" else self.n_units)

    def sized(self, objective: Objective) -> Objective:
        """Returns an objective whose head of action units has an output for each unit of the data set."""
        widths = objective.heads.get("units")
        if widths is None or UNITS not in objective.targets or self.n_units in (0, widths[-1]):
            return objective
        return objective.replace(heads={**objective.heads, "units": (*widths[:-1], self.n_units)})

    def facts(self, objective: Objective) -> Batch:
        """Returns the facts of all N images for an objective: labels, subjects and its targets."""
        for name in objective.targets:
            if f"target {name}" not in self._placed:
                self._placed[f"target {name}"] = devices.placed(jnp.asarray(self.data.targets[name]))
        targets = {name: self._placed[f"target {name}"] for name in objective.targets}
        return Batch(self.labels, self._placed["subject"], targets)

    def base_mask(self) -> np.ndarray:
        """Returns the classes of the base task, bool[C]."""
        return np.arange(self.n_classes) < self.n_base

    def train_rows(self, classes: np.ndarray) -> np.ndarray:
        """Returns the training images of the classes bool[C], i32."""
        train = self.split.train
        return train[classes[self.data.label[train]]]

    def exemplars(self, increment: int) -> int:
        """Returns m, the exemplars of each old class during an increment."""
        m = self.config.memory
        return replay.exemplars_per_class(
            len(self.split.train), self.n_classes, self.n_base, increment, m.mode,
            self.config.protocol.name, m.share, self.per_increment,
        )  # fmt: skip

    def capacity(self) -> int:
        """Returns the most exemplars any class can ever have."""
        increments = range(max(1, protocol.n_increments(self.n_classes - self.n_base, self.per_increment)))
        return max(self.exemplars(i) for i in increments)
