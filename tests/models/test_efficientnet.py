"""EfficientNet-Lite0's size, and where it halves its images."""

import itertools

import jax
import jax.numpy as jnp

from fer_jax.models.efficientnet import EfficientNetLite


def test_lite0_has_the_published_number_of_parameters():
    shapes = EfficientNetLite().shapes()
    trained = [
        leaf for leaves in shapes.values() for name, leaf in leaves.items() if name not in ("mean", "var")
    ]  # fmt: skip
    classifier = 1280 * 1000 + 1000
    # The release speaks of 4.7 M: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    assert sum(jax.numpy.prod(jnp.asarray(leaf)).item() for leaf in trained) + classifier == 4_652_008


def test_the_maps_are_those_of_the_architecture():
    model = EfficientNetLite()
    found = {}
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    cuts = ("input", "stage1_block1", "stage3_block1", "stage5_block1", "stage7_block1", "top", "top_relu", "features")
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    for start, stop in itertools.pairwise(cuts):
        x = jax.eval_shape(lambda v, x, start=start, stop=stop: model.apply(v, x, start, stop), variables, x)
        found[stop] = x.shape[1:]
    assert found == {
        "stage1_block1": (112, 112, 32),
        "stage3_block1": (56, 56, 24),
        "stage5_block1": (14, 14, 80),
        "stage7_block1": (7, 7, 192),
        "top": (7, 7, 320),
        "top_relu": (7, 7, 1280),
        "features": (1280,),
    }
