"""The frozen trunk's output, computed once a fold for every increment, order, method and few-shot draw.

One clean view of every image is always there: validation, test and memory selection read it. With
`feature_cache.views = V` training reads V augmented views of every image from here, too, instead of running the trunk
in every step, and what the base model answers to them, where that is the teacher; V = 0 is exact. It is where the
images are, on the device or on the host, and in the precision that the network computes in.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import rng
from fer_jax.augment import amounts
from fer_jax.data import residency
from fer_jax.errors import UserError
from fer_jax.training import encoding


def clean(setup, base) -> np.ndarray | jax.Array:
    """The trunk's output at `continual.cut` for every image as it is, [N, ...].

    Raises:
      UserError: all that is cached would be more than `feature_cache.max_gb`.
    """
    if "clean" not in setup.trunks:
        check_size(setup.config, setup.network, setup.images.shape, setup.split)
        rows = np.arange(len(setup.images))
        setup.trunks["clean"] = encoding.encode(base, setup.images, rows, setup.network, setup.config.continual.cut)
    return setup.trunks["clean"]


def views(setup, base) -> np.ndarray | jax.Array:
    """The trunk's output for V augmented views of every image, [N, V, ...]; without augmentation one, as it is.

    Raises:
      UserError: as `clean`.
    """
    if "views" not in setup.trunks:
        first = clean(setup, base)
        if not setup.config.continual.augment or setup.augmentation is None:
            setup.trunks["views"] = first[:, None]
        else:
            key = rng.derive(setup.config.seed, "views", setup.fold)
            n_views, cut = setup.config.feature_cache.views, setup.config.continual.cut
            shape = (len(first), n_views, *first.shape[1:])
            made = np.empty(shape, first.dtype) if residency.on_host(first) else jnp.zeros(shape, first.dtype)
            for v in range(n_views):
                view = encoding.encode_view(
                    base, setup.images, jax.random.fold_in(key, v), setup.network, cut, setup.augmentation
                )
                made = _with_view(made, view, v)
            setup.trunks["views"] = made
    return setup.trunks["views"]


def _with_view(made: np.ndarray | jax.Array, view: np.ndarray | jax.Array, v: int) -> np.ndarray | jax.Array:
    """With a view in its place; what is made is never there twice."""
    if not residency.on_host(made):
        return _put(made, view, v)
    made[:, v] = view
    return made


@functools.partial(jax.jit, donate_argnums=0)
def _put(made: jax.Array, view: jax.Array, v: int) -> jax.Array:
    return made.at[:, v].set(view)


def taught(setup, base) -> jax.Array:
    """The base model's logits of those views, f32[N, V, C]: what a teacher that stays the same says of them."""
    if "taught" not in setup.trunks:
        seen, cut = views(setup, base), setup.config.continual.cut
        setup.trunks["taught"] = jnp.stack(
            [encoding.logits_from(base, seen[:, v], setup.network, cut) for v in range(seen.shape[1])], 1
        )
    return setup.trunks["taught"]


def clear(setup) -> None:
    """Gives the memory back."""
    setup.trunks.clear()


def check_size(config, network, images: tuple[int, ...], split) -> None:
    """Whether the budget is enough for all that is cached of images [N, H, W, 3]; nothing is computed.

    Raises:
      UserError: it would be more than `feature_cache.max_gb`.
    """
    cache, cut, (n, size, *_) = config.feature_cache, config.continual.cut, images
    base = jax.eval_shape(lambda: network.init(jax.random.key(0), size))
    one = jax.eval_shape(lambda p, x: network.trunk(p, x, cut), base, jnp.zeros((1, *images[1:]), jnp.float32))
    augmented = config.continual.augment and amounts(config.augment)
    kept = 1 + (cache.views if augmented else min(cache.views, 1))
    held_out = len(split.validation) + len(split.test)  # theirs once more, beside one another
    gigabytes = int(np.prod(one.shape)) * one.dtype.itemsize * (n * kept + held_out) / 1e9
    if gigabytes > cache.max_gb:
        fewer = "config.feature_cache.views or " if kept > 1 else ""
        raise UserError(
            f"config.feature_cache.max_gb is {cache.max_gb:g}; {kept} views of {n} images at {cut}, and {held_out} "
            f"held-out ones once more, take {gigabytes:.3g} GB: allow them, or lower {fewer}config.data.image_size"
        )
