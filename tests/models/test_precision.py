"""bfloat16 where it is asked for, and float32 in all that is kept, summed up or answered."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import encoding, methods, training
from fer_jax.models import precision
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.small import ConvNet, Mlp
from fer_jax.phases import basic, continual, feature_cache
from tests.phases.test_increments import setup

BACKBONES = {
    "resnet": (ResNetV2((1, 1, 1, 1), (4, 4, 6, 6), 4, 5), "conv4_block1"),
    "efficientnet": (EfficientNetLite((1,) * 7, (4, 4, 6, 6, 6, 8, 8), stem_width=4, top_width=12), "stage5_block1"),
    "convnet": (ConvNet((4, 6)), "conv1"),
    "mlp": (Mlp((12, 8)), "dense1"),
}


def network(name: str, choice: str) -> tuple[Network, str]:
    backbone, cut = BACKBONES[name]
    dtype = precision.dtype(choice)
    return Network(backbone.clone(dtype=dtype), ExpressionHead((6,), 5, 0.1, dtype)), cut


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3)).astype(np.uint8))


def start(name: str, choice: str, images):
    net, cut = network(name, choice)
    params = net.init(jax.random.key(0), 32)
    if name in ("resnet", "efficientnet"):
        params["backbone"] = calibrate_batch_norm(net.backbone, params["backbone"], images / 255.0)
    return net, cut, params


def dtypes(tree) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


def test_auto_is_by_device(monkeypatch):
    found = []
    for backend in ("cpu", "gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        found.append(precision.used("auto"))
    assert found == ["float32", "bfloat16", "bfloat16"]
    assert [precision.used(choice) for choice in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert (precision.dtype("float32"), precision.dtype("bfloat16")) == (None, jnp.bfloat16)


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "auto") for name in BACKBONES), ("resnet", "product"), ("efficientnet", "product")]
)
def test_only_what_lies_between_layers_is_bfloat16(name, form, images):
    exact, cut, params = start(name, "float32", images)
    net, _, started = start(name, "bfloat16", images)
    net = dataclasses.replace(net, backbone=net.backbone.clone(form=form))
    assert dtypes(started) == dtypes(params) == {"float32"}
    scaled = images / 255.0

    @functools.partial(jax.jit, static_argnums=0)
    def run(net, params, scaled):
        activations = net.trunk(params, scaled, cut)
        return activations, *net.tail(params, activations, cut)

    found, wanted = run(net, params, scaled), run(exact, params, scaled)
    assert [dtypes(one) for one in found] == [{"bfloat16"}, {"float32"}, {"float32"}]
    assert [dtypes(one) for one in wanted] == [{"float32"}] * 3
    for one, exactly in zip(found, wanted, strict=True):
        assert not np.array_equal(one, exactly)
        assert float(jnp.abs(one - exactly).mean()) < 0.03 * float(jnp.abs(exactly).max())
    # Images and features are float32 wherever the network is cut.
    for stop in ("input", "head"):
        assert jax.eval_shape(lambda p, x: net.trunk(p, x, stop), params, scaled).dtype == jnp.float32  # noqa: B023


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_do_compute_in_bfloat16(name, images):
    """Every convolution and dense layer of the program has bfloat16 operands."""
    net, _ = network(name, "bfloat16")
    net = dataclasses.replace(net, backbone=net.backbone.clone(form="library"))
    params = net.init(jax.random.key(0), 32)

    def answer(params, images):
        return net.tail(params, net.trunk(params, images, "head"), "head")[0]

    jaxpr = jax.make_jaxpr(answer)(params, images / 255.0)
    layers = [e for e in jaxpr.eqns if e.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(layers) > 3
    assert {str(v.aval.dtype) for e in layers for v in e.invars} == {"bfloat16"}


def trained(name: str, choice: str | None, images):
    """Parameters and optimizer after an epoch from the cut; without a choice by a network that knows of none."""
    net, cut, params = start(name, choice or "float32", images)
    if choice is None:
        net = Network(BACKBONES[name][0], ExpressionHead((6,), 5, 0.1))
    labels, known = jnp.arange(24) % 4, jnp.arange(5) < 4
    recipe = training.Recipe(
        net, cut, methods.distilled_cross_entropy, 8, 1e-2, uses_teacher=True, augmentation=(0.5, 0.01, 0.02, 0.02)
    )
    context = methods.Context(known, known, known, jnp.float32(0.1), jnp.float32(3))
    state, frozen = recipe.init(params)
    arrays = (images, labels, jnp.zeros(24, bool))
    state, loss, _ = training.run_epoch(
        state, frozen, params, arrays, jnp.arange(24), context, jax.random.key(0), recipe
    )
    return net, state, merge(state.trainable, frozen), loss


def test_float32_is_what_it_was_without_a_choice(images):
    plain, chosen = trained("resnet", None, images), trained("resnet", "float32", images)
    jax.tree.map(np.testing.assert_array_equal, plain[1:], chosen[1:])
    # A layer without a dtype of its own is the layer of before: the same program.
    lowered = [
        jax.jit(lambda p, x, net=net: net.trunk(p, x, "head")).lower(plain[2], images / 255.0).as_text()
        for net in (plain[0], chosen[0])
    ]
    assert lowered[0] == lowered[1]
    assert "bf16" not in lowered[0]


def test_training_keeps_parameters_moments_and_losses_in_float32(images):
    net, state, params, loss = trained("resnet", "bfloat16", images)
    _, _, exact, exact_loss = trained("resnet", "float32", images)
    assert dtypes((state, params)) == {"float32"}
    assert loss == pytest.approx(exact_loss, rel=0.05)
    trunk = encoding.encode(params, images, np.arange(24), net, "conv4_block1")
    assert trunk.dtype == jnp.bfloat16
    gradients = jax.grad(lambda p: net.tail(p, trunk, "conv4_block1")[0].sum())(params)
    assert dtypes(gradients) == {"float32"}
    # Three steps of Adam go about as far.
    far = [float(jnp.linalg.norm(p["head"]["logits"]["kernel"])) for p in (params, exact)]
    assert far[0] == pytest.approx(far[1], rel=0.05)


def test_the_cache_is_bfloat16_and_accuracies_are_near(tmp_path):
    """On the digits' base task and increments; on the host, too, where NumPy has no such type of its own."""
    found = {}
    for name, changes in (("float32", {}), ("bfloat16", {}), ("host", {})):
        computes = "bfloat16" if name == "host" else name
        given = setup(
            tmp_path / name,
            **{
                "model.precision": computes, "model.name": "convnet", "model.widths": (12, 16), "joint.cut": "input",
                "continual.cut": "conv1", "gdumb.cut": "conv1", "feature_cache.views": 1, "basic.body.max_epochs": 30,
                "basic.body.learning_rate": 1e-2, "continual.max_epochs": 10, "continual.learning_rate": 1e-2, **changes,
            },
        )  # fmt: skip
        if name == "host":
            given = dataclasses.replace(given, images=np.asarray(given.images))
        base, measured = basic.run(given)
        steps = continual.run(given, base, methods.METHODS["er"], 0, np.arange(6))
        counts = np.asarray(steps[-1]["confusions"]["network"])
        cache = feature_cache.views(given, base)
        assert (str(cache.dtype), dtypes(base)) == (computes, {"float32"})
        found[name] = measured["test_accuracy"], np.trace(counts) / counts.sum(), counts.tolist()
    np.testing.assert_allclose(found["bfloat16"][:2], found["float32"][:2], atol=0.15)
    assert found["float32"][0] > 0.8
    assert found["host"] == found["bfloat16"]
