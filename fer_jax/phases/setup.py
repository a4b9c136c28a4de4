"""What the phases share: the data on the device, the model, the split of one fold, and where to write."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import protocol, replay, training
from fer_jax.checkpoints import Cell, Saving
from fer_jax.data.arrays import FaceArrays
from fer_jax.models import backbones
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.progress import Progress

Params = Any


def build_network(config: ml_collections.ConfigDict, n_classes: int) -> Network:
    """The network that a resolved config describes, with a head over all C classes."""
    m = config.model
    head = ExpressionHead(hidden=tuple(m.hidden), n_classes=n_classes, dropout=m.dropout)
    return Network(backbones.build(m), head, input_range=m.input_range)


@dataclasses.dataclass(frozen=True)
class Setup:
    """One fold of an experiment; everything a phase needs but a model.

    images u8[N, H, W, 3] and labels i32[N] are on the device; `split` holds indices into them. `weights` is where the
    backbone starts, None for random ones; `shared` is where runs share base models, None trains one for this run alone.
    """

    config: ml_collections.FrozenConfigDict
    data: FaceArrays
    network: Network
    images: jax.Array
    labels: jax.Array
    fold: int
    split: protocol.Split
    checkpoints: pathlib.Path
    progress: Progress
    saving: Saving
    weights: backbones.Weights | None = None
    shared: pathlib.Path | None = None

    def cell(self, *names: str) -> Cell:
        """Where a part of this fold's work keeps its checkpoints, such as cell("kd_psmr", "order0")."""
        return Cell(self.checkpoints.joinpath(f"fold{self.fold}", *names), self.saving)

    @property
    def n_classes(self) -> int:
        return len(self.data.class_names)

    @property
    def n_base(self) -> int:
        return self.config.data.n_base

    @property
    def arrays(self) -> tuple[jax.Array, jax.Array]:
        return self.images, self.labels

    @property
    def augmentation(self) -> tuple[float, float, float, float]:
        a = self.config.augment
        return a.flip, a.rotation, a.zoom, a.translation

    @property
    def restore(self) -> str:
        """Which weights end a fit whose epochs ran out: the published code keeps the last."""
        return "on_stop" if self.config.protocol.name == "published" else "always"

    @functools.cached_property
    def test_counts(self) -> np.ndarray:
        """Test images of every class, i64[C]."""
        return np.bincount(self.data.label[self.split.test], minlength=self.n_classes)

    def base_mask(self) -> np.ndarray:
        return np.arange(self.n_classes) < self.n_base

    def train_rows(self, classes: np.ndarray) -> np.ndarray:
        """Training images of the classes bool[C], i32."""
        train = self.split.train
        return train[classes[self.data.label[train]]]

    def exemplars(self, increment: int) -> int:
        """m, the exemplars of each old class during an increment."""
        m = self.config.memory
        return replay.exemplars_per_class(
            len(self.split.train), self.n_classes, self.n_base, increment, m.mode,
            self.config.protocol.name, m.share,
        )  # fmt: skip

    def capacity(self) -> int:
        """The most exemplars any class can ever have."""
        increments = range(max(1, self.n_classes - self.n_base))
        return max(self.exemplars(i) for i in increments)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A set of images seen through the frozen trunk once: activations f32[N, ...] and labels i32[N]."""

    activations: jax.Array
    labels: jax.Array

    @classmethod
    def of(cls, setup: Setup, params: Params, rows: np.ndarray, cut: str) -> "Encoded":
        rows = jnp.asarray(rows)
        activations = training.encode(params, setup.images, rows, setup.network, cut)
        return cls(activations, setup.labels[rows])

    def logits(self, setup: Setup, params: Params, cut: str) -> jax.Array:
        return training.logits_from(params, self.activations, setup.network, cut)


def rank_class(
    setup: Setup, params: Params, class_index: int, rows: np.ndarray, length: int, capacity: int
) -> jax.Array:
    """Predictive Sorting of one class's images by the model that has just learned it.

    Args:
      rows: i32[R], the images of the class.
      length: R is padded to this, so that classes of different size share one compilation.
      capacity: how many to rank.

    Returns:
      i32[capacity] image indices, best first, -1 padded.
    """
    padded = jnp.asarray(np.pad(rows, (0, length - len(rows)), constant_values=-1))
    return _rank(params, setup.images, padded, class_index, setup.network, capacity)


@functools.partial(jax.jit, static_argnames=("network", "capacity"))
def _rank(params, images, rows, class_index, network, capacity):
    features = training.encode(params, images, jnp.maximum(rows, 0), network, "head")
    logits, _ = network.tail(params, features, "head")
    chosen = replay.predictive_sort(logits[:, class_index], rows >= 0, capacity)
    return jnp.where(chosen >= 0, rows[chosen], -1)


def base_memory(setup: Setup, params: Params, capacity: int) -> replay.Memory:
    """The base classes' exemplars, ranked once by the base model."""
    memory = replay.empty_memory(setup.n_classes, capacity)
    longest = longest_class(setup)
    for c in range(setup.n_base):
        rows = setup.train_rows(np.arange(setup.n_classes) == c)
        memory = replay.remember(memory, c, rank_class(setup, params, c, rows, longest, capacity))
    return memory


def longest_class(setup: Setup) -> int:
    """The most training images that any class has."""
    return int(np.bincount(setup.data.label[setup.split.train], minlength=1).max())
