"""bfloat16 where it is asked for, and float32 in all that is kept, summed up or answered."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax import methods, objectives
from fer_jax.augment import Augmentation
from fer_jax.models import precision
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.small import ConvNet, Mlp
from fer_jax.phases import base as base_task
from fer_jax.phases import continual, trunk_cache
from fer_jax.training import encoding
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import run_epoch
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe
from tests.support.digits import fold_of

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


@pytest.mark.parametrize("form", ["library", "product"])
@pytest.mark.parametrize("name", BACKBONES)
def test_only_what_lies_between_layers_is_bfloat16(name, form):
    """Of the shapes that are traced; nothing is computed."""
    for choice in configs.PRECISIONS[1:]:
        net, cut = network(name, choice)
        net = dataclasses.replace(net, backbone=net.backbone.clone(form=form))
        params = jax.eval_shape(lambda net=net: net.init(jax.random.key(0), 32))
        assert dtypes(params) == {"float32"}

        def run(params, images, net=net, cut=cut):
            activations = net.trunk(params, images, cut)
            ends = net.trunk(params, images, "input"), net.trunk(params, images, "head")
            return activations, net.tail(params, activations, cut), ends

        scaled = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        activations, *rest = jax.eval_shape(run, params, scaled)
        assert (str(activations.dtype), dtypes(rest)) == (choice, {"float32"})
        layers = [
            e for e in jax.make_jaxpr(run)(params, scaled).eqns
            if e.primitive.name in ("conv_general_dilated", "dot_general")
        ]  # fmt: skip
        assert len(layers) > 3
        assert {str(v.aval.dtype) for e in layers for v in e.invars} == {choice}


def trained(name: str, choice: str, images):
    """Parameters and optimizer after an epoch from the cut."""
    net, cut, params = start(name, choice, images)
    labels, known = jnp.arange(24) % 4, jnp.arange(5) < 4
    recipe = Recipe(
        net, cut, objectives.distilled_cross_entropy, 8, 1e-2, uses_teacher=True,
        augmentation=Augmentation(0.5, 0.01, 0.02, 0.02),
    )  # fmt: skip
    state, frozen = recipe.init(params)
    context = objectives.Context(known, known, known, jnp.float32(0.1), jnp.float32(3))
    context = context._replace(frozen=frozen, teacher=params)
    source = Source(Batch(labels, stored=jnp.zeros(24, bool)), images)
    state, row = run_epoch(state, source, jnp.arange(24), context, jax.random.key(0), recipe)
    return net, state, merge(state.trainable, frozen), row["loss"]


def test_float32_is_what_it_was_without_a_choice(images):
    """A layer without a dtype of its own is the layer of before: the same program, forwards and backwards."""
    plain, chosen = Network(BACKBONES["resnet"][0], ExpressionHead((6,), 5, 0.1)), network("resnet", "float32")[0]
    params = jax.eval_shape(lambda: chosen.init(jax.random.key(0), 32))

    def loss(params, images, net):
        return net.tail(params, net.trunk(params, images, "input"), "input")[0].sum()

    lowered = [
        jax.jit(jax.value_and_grad(loss), static_argnums=2).lower(params, images / 255.0, net).as_text()
        for net in (plain, chosen)
    ]
    assert lowered[0] == lowered[1]
    assert "bf16" not in lowered[0]


@pytest.mark.slow
def test_training_keeps_parameters_moments_and_losses_in_float32(images):
    net, state, params, loss = trained("resnet", "bfloat16", images)
    _, _, exact, exact_loss = trained("resnet", "float32", images)
    assert dtypes((state, params)) == {"float32"}
    assert loss == pytest.approx(exact_loss, rel=0.05)
    cut = BACKBONES["resnet"][1]
    trunk = encoding.encode(params, images, np.arange(24), net, cut)
    assert trunk.dtype == jnp.bfloat16
    gradients = jax.eval_shape(jax.grad(lambda p: net.tail(p, trunk, cut)[0].sum()), params)
    assert dtypes(gradients) == {"float32"}
    logits, wanted = (
        encoding.logits_from(p, encoding.encode(p, images, np.arange(24), n, cut), n, cut)
        for p, n in ((params, net), (exact, network("resnet", "float32")[0]))
    )
    assert not np.array_equal(logits, wanted)
    assert float(jnp.abs(logits - wanted).mean()) < 0.05 * float(jnp.abs(wanted).max())


@pytest.mark.slow
def test_the_cache_is_bfloat16_and_accuracies_are_near(tmp_path):
    """On the digits' base task and increments; on the host, too, where NumPy has no such type of its own."""
    found = {}
    for name, computes in (("float32", "float32"), ("bfloat16", "bfloat16"), ("host", "bfloat16")):
        given = fold_of(
            tmp_path / name,
            **{
                "model.precision": computes, "model.widths": (64, 32), "continual.cut": "dense1", "gdumb.cut": "dense1",
                "feature_cache.views": 1, "basic.body.max_epochs": 20, "basic.body.learning_rate": 1e-2,
                "continual.max_epochs": 8, "continual.learning_rate": 1e-2,
            },
        )  # fmt: skip
        if name == "host":
            given = dataclasses.replace(given, images=np.asarray(given.images))
        base, measured = base_task.run(given)
        steps = continual.run(given, base, methods.METHODS["er"], 0, np.arange(6))
        counts = np.asarray(steps[-1]["confusions"]["network"])
        cache = trunk_cache.views(given, base, given.config.continual.cut)
        assert (str(cache.dtype), dtypes(base)) == (computes, {"float32"})
        found[name] = measured["test_accuracy"], np.trace(counts) / counts.sum(), counts.tolist()
    np.testing.assert_allclose(found["bfloat16"][:2], found["float32"][:2], atol=0.15)
    assert found["float32"][0] > 0.8
    assert found["host"] == found["bfloat16"]
