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
from fer_jax.data.arrays import FaceArrays
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
