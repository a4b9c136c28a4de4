"""The frozen trunk's output, computed once for every increment, order, method and few-shot draw that reads it.

One clean view of every image is always cached: validation, test and memory selection read it. With `feature_cache.views
= V` training also reads V augmented views of every image from the cache, instead of running the trunk in every step,
and the base model's logits of them where the base model is the teacher; V = 0 is exact. The cache lies where the images
are, on the device or on the host, and has the precision of the network's computation.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import rng
from fer_jax.config import names
from fer_jax.data import residency
from fer_jax.errors import UserError
from fer_jax.runs.checkpoints import digest
from fer_jax.training import encoding

Params = Any
Array = np.ndarray | jax.Array


class TrunkCache:
    """The outputs of a fold's frozen trunks, by a digest of the trunk's parameters and by kind."""

    def __init__(self):
        self._made: dict[tuple, Any] = {}
        self._digests: list[tuple[Params, str]] = []

    def get(self, params: Params, what: tuple, make: Callable[[], Any]) -> Any:
        """Returns an output of these parameters, computed if it is not cached.

        Args:
          what: all else that the result depends on, such as the cut.
        """
        key = self._digest(params), *what
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def clear(self) -> None:
        """Releases the memory."""
        self._made.clear()
        self._digests.clear()

    def _digest(self, params: Params) -> str:
        # The same object is not read twice; what is compared stays referenced, so that no other takes its place.
        for known, found in self._digests:
            if known is params:
                return found
        self._digests.append((params, digest(params, {})))
        return self._digests[-1][1]


def clean(fold, base: Params, cut: str, mirrored: bool = False) -> Array:
    """Returns the trunk's output at a cut for every image as it is, or its mirror image, [N, ...].

    Raises:
      UserError: what is cached at this cut would be more than `feature_cache.max_gb`.
    """

    def make() -> Array:
        check_size(fold.config, fold.network, fold.images.shape, fold.split, [cut], [cut] if mirrored else [])
        return encoding.encode(base, fold.images, np.arange(len(fold.images)), fold.network, cut, mirrored)

    return fold.cache.get(base, ("clean", cut, mirrored), make)


def views(fold, base: Params, cut: str) -> Array:
    """Returns the trunk's output for V augmented views of every image, [N, V, ...]; without augmentation, for one plain
    view.

    Raises:
      UserError: as `clean`.
    """
    return fold.cache.get(base, ("views", *_views_of(fold, cut)), lambda: _make_views(fold, base, cut))


def _views_of(fold, cut: str) -> tuple:
    """Returns what the views depend on beside the trunk."""
    augmentation = fold.augmentation if fold.config.continual.augment else None
    return cut, fold.config.feature_cache.views, augmentation, fold.config.seed


def _make_views(fold, base: Params, cut: str) -> Array:
    first, (_, n_views, augmentation, seed) = clean(fold, base, cut), _views_of(fold, cut)
    if augmentation is None:
        return first[:, None]
    key, shape = rng.derive(seed, "views", fold.number), (len(first), n_views, *first.shape[1:])
    made = np.empty(shape, first.dtype) if residency.on_host(first) else jnp.zeros(shape, first.dtype)
    for v in range(n_views):
        view = encoding.encode_view(base, fold.images, jax.random.fold_in(key, v), fold.network, cut, augmentation)
        made = _with_view(made, view, v)
    return made


def _with_view(made: Array, view: Array, v: int) -> Array:
    """Puts a view in its place; the whole is never there twice."""
    if not residency.on_host(made):
        return _put(made, view, v)
    made[:, v] = view
    return made


@functools.partial(jax.jit, donate_argnums=0)
def _put(made: jax.Array, view: jax.Array, v: int) -> jax.Array:
    return made.at[:, v].set(view)


def taught(fold, base: Params, cut: str) -> jax.Array:
    """Returns the base model's logits of those views, f32[N, V, C], for a teacher that stays the same."""

    def make() -> jax.Array:
        seen = views(fold, base, cut)
        each = [encoding.logits_from(base, seen[:, v], fold.network, cut) for v in range(seen.shape[1])]
        return jnp.stack(each, 1)

    return fold.cache.get(base, ("taught", *_views_of(fold, cut)), make)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A set of images seen through the frozen trunk once: activations [R, ...], where the images are, and labels
    i32[R].

    mirror: the same of the mirror images, or None. With them, features are the means over an image and its mirror
      image, and logits are those of these features.
    rows: i[R], which images of the data set they are.
    """

    activations: Array
    labels: jax.Array
    mirror: Array | None = None
    rows: np.ndarray | None = None

    @classmethod
    def of(cls, fold, params: Params, rows: np.ndarray, cut: str, mirrored: bool = False) -> "Encoded":
        """Encodes the images `rows` i[R], not augmented, by the trunk of `params`."""
        rows = np.asarray(rows)
        both = [encoding.encode(params, fold.images, rows, fold.network, cut, side) for side in _sides(mirrored)]
        return cls(both[0], fold.labels[rows], *both[1:], rows=rows)

    @classmethod
    def cached(cls, fold, base: Params, rows: np.ndarray, cut: str, mirrored: bool = False) -> "Encoded":
        """Encodes images by the fold's base model, whose trunk runs once for all."""
        if cut == "input":
            return cls.of(fold, base, rows, cut, mirrored)
        rows = np.asarray(rows)
        both = [clean(fold, base, cut, side)[rows] for side in _sides(mirrored)]
        return cls(both[0], fold.labels[rows], *both[1:], rows=rows)

    @classmethod
    def held_out(cls, fold, base: Params, which: str, cut: str, mirrored: bool = False) -> "Encoded":
        """Encodes one part of the fold's split, "validation" or "test", once for all callers."""
        rows, what = getattr(fold.split, which), ("held out", which, cut, mirrored)
        return fold.cache.get(base, what, lambda: cls.cached(fold, base, rows, cut, mirrored))

    def logits(self, fold, params: Params, cut: str) -> jax.Array:
        """Returns logits without dropout, f32[R, C]."""
        if self.mirror is None:
            return encoding.logits_from(params, self.activations, fold.network, cut)
        return self.logits_and_features(fold, params, cut)[0]

    def features(self, fold, params: Params, cut: str) -> jax.Array:
        """Returns pooled features, f32[R, D]."""
        one = encoding.features_from(params, self.activations, fold.network, cut)
        if self.mirror is None:
            return one
        return (one + encoding.features_from(params, self.mirror, fold.network, cut)) / 2

    def read(self, fold, params: Params, cut: str, what: str) -> jax.Array:
        """Returns what a classifier reads (`Classifier.reads`) but parts: features, units or both, f32[R, D]."""
        if what == "units":
            return fold.units[self.rows]
        features = self.features(fold, params, cut)
        return features if what == "features" else jnp.concatenate([features, fold.units[self.rows]], 1)

    def logits_and_features(self, fold, params: Params, cut: str) -> tuple[jax.Array, jax.Array]:
        """Returns both, by one pass of the tail a side."""
        if self.mirror is None:
            return encoding.logits_and_features(params, self.activations, fold.network, cut)
        features = self.features(fold, params, cut)
        return encoding.head_logits(params, features, fold.network), features


def _sides(mirrored: bool) -> tuple[bool, ...]:
    return (False, True) if mirrored else (False,)


def check_size(config, network, images: tuple[int, ...], split, cuts: list[str], mirrored: list[str]) -> None:
    """Checks that the cache of images [N, H, W, 3] at some cuts fits the budget; computes nothing.

    mirrored: those of the cuts at which their mirror images are held, too.

    Raises:
      UserError: it would be more than `feature_cache.max_gb`.
    """
    cache, (n, size, *_) = config.feature_cache, images
    base = jax.eval_shape(lambda: network.init(jax.random.key(0), size))
    picture = jnp.zeros((1, *images[1:]), jnp.float32)

    def of_image(cuts: list[str]) -> int:
        ones = [jax.eval_shape(functools.partial(network.trunk, cut=cut), base, picture) for cut in cuts]
        return sum(int(np.prod(one.shape)) * one.dtype.itemsize for one in ones)

    augmented = config.continual.augment and names.augmentation(config.augment) is not None
    stored = 1 + (cache.views if augmented else min(cache.views, 1))
    held_out = len(split.validation) + len(split.test)  # theirs once more, beside one another
    gigabytes = (of_image(cuts) * (n * stored + held_out) + of_image(mirrored) * (n + held_out)) / 1e9
    if gigabytes > cache.max_gb:
        fewer = "config.feature_cache.views or " if stored > 1 else ""
        held = f"{stored} views of {n} images at {' and '.join(cuts)}, and {held_out} held-out ones once more"
        held += ", and one more of all as in a mirror" if mirrored else ""
        raise UserError(
            f"config.feature_cache.max_gb is {cache.max_gb:g}; {held}, take {gigabytes:.3g} GB: allow them, or lower "
            f"{fewer}config.data.image_size"
        )
