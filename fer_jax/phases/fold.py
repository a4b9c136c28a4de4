"""What the phases share: the data, the model, the split of one fold, and where to write."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from fer_jax import protocol, replay
from fer_jax.augment import amounts
from fer_jax.data.arrays import FaceArrays
from fer_jax.models import backbones, precision
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.phases import trunk_cache as feature_cache
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Progress
from fer_jax.runs.slots import Slot
from fer_jax.training import encoding

Params = Any


def build_network(config: ml_collections.ConfigDict, n_classes: int, computes: str | None = None) -> Network:
    """The network that a resolved config describes, with a head over all C classes.

    computes: the precision; None is that of the config.
    """
    m = config.model
    dtype = precision.dtype(computes or m.precision)
    head = ExpressionHead(hidden=tuple(m.hidden), n_classes=n_classes, dropout=m.dropout, dtype=dtype)
    return Network(backbones.build(m).clone(dtype=dtype), head, input_range=m.input_range)


@dataclasses.dataclass(frozen=True)
class Setup:
    """One fold of an experiment; everything a phase needs but a model.

    images u8[N, H, W, 3] are on the device or, as a NumPy array, on the host (`data.residency`), labels i32[N] on the
    device; `split` holds indices into them. `weights` is where the backbone starts, None for random ones; `shared` is
    where runs share base models, None trains one for this run alone.
    """

    config: ml_collections.FrozenConfigDict
    data: FaceArrays
    network: Network
    images: np.ndarray | jax.Array
    labels: jax.Array
    fold: int
    split: protocol.Split
    checkpoints: pathlib.Path
    progress: Progress
    saving: Saving
    weights: backbones.Weights | None = None
    shared: pathlib.Path | None = None
    trunks: dict[str, Any] = dataclasses.field(
        default_factory=dict
    )  # what the frozen trunk made: `feature_cache`, `Encoded`

    def slot(self, *names: str) -> Slot:
        """Opens the checkpoints of a part of this fold's work, such as slot("kd_psmr", "order0")."""
        return Slot(self.checkpoints.joinpath(f"fold{self.fold}", *names), self.saving)

    @property
    def n_classes(self) -> int:
        """C, classes of the data set."""
        return len(self.data.class_names)

    @property
    def n_base(self) -> int:
        """Classes of the base task."""
        return self.config.data.n_base

    @property
    def arrays(self) -> tuple[np.ndarray | jax.Array, jax.Array]:
        """Images u8[N, H, W, 3] and labels i32[N]."""
        return self.images, self.labels

    @property
    def augmentation(self) -> tuple[float, float, float, float] | None:
        """As `data.augment` takes it; None where nothing is to be changed."""
        return amounts(self.config.augment)

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

    def base_mask(self) -> np.ndarray:
        """The classes of the base task, bool[C]."""
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
            self.config.protocol.name, m.share, self.per_increment,
        )  # fmt: skip

    def capacity(self) -> int:
        """The most exemplars any class can ever have."""
        increments = range(max(1, protocol.n_increments(self.n_classes - self.n_base, self.per_increment)))
        return max(self.exemplars(i) for i in increments)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A set of images seen through the frozen trunk once: activations [N, ...], where the images are, and labels
    i32[N]."""

    activations: np.ndarray | jax.Array
    labels: jax.Array

    @classmethod
    def of(cls, setup: Setup, params: Params, rows: np.ndarray, cut: str) -> "Encoded":
        """The images `rows` i[R], not augmented, through the trunk of `params`."""
        rows = np.asarray(rows)
        return cls(encoding.encode(params, setup.images, rows, setup.network, cut), setup.labels[rows])

    @classmethod
    def cached(cls, setup: Setup, base: Params, rows: np.ndarray, cut: str) -> "Encoded":
        """Of the fold's base model, whose trunk at the continual phase's cut is run once for all."""
        if cut != setup.config.continual.cut or cut == "input":
            return cls.of(setup, base, rows, cut)
        rows = np.asarray(rows)
        return cls(feature_cache.clean(setup, base)[rows], setup.labels[rows])

    @classmethod
    def held_out(cls, setup: Setup, base: Params, which: str, cut: str) -> "Encoded":
        """The fold's images of a part of its split, "validation" or "test": made once for all that ask."""
        name = f"{which} at {cut}"
        if name not in setup.trunks:
            setup.trunks[name] = cls.cached(setup, base, getattr(setup.split, which), cut)
        return setup.trunks[name]

    def logits(self, setup: Setup, params: Params, cut: str) -> jax.Array:
        """Without dropout, f32[R, C]."""
        return encoding.logits_from(params, self.activations, setup.network, cut)

    def features(self, setup: Setup, params: Params, cut: str) -> jax.Array:
        """Pooled, f32[R, D]."""
        return encoding.features_from(params, self.activations, setup.network, cut)

    def logits_and_features(self, setup: Setup, params: Params, cut: str) -> tuple[jax.Array, jax.Array]:
        """Both, by one pass of the tail."""
        return encoding.logits_and_features(params, self.activations, setup.network, cut)


def longest_class(setup: Setup) -> int:
    """The most training images that any class has."""
    return int(np.bincount(setup.data.label[setup.split.train], minlength=1).max())
