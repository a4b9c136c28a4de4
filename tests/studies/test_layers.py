"""The costs of layers: every layer of a network is there once for each call, and what is compared computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.bench import arithmetic
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.models.vit import ViT, attention
from studies import layers
from studies.documents import performance

NETWORKS = {
    "efficientnet": (EfficientNetLite(widths=(4, 4, 8, 8, 8, 8, 8), stem_width=4, top_width=16), 32),
    "vit": (ViT(patch=8, width=32, depth=2, heads=4, grid=4), 32),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layers_are_all_of_the_network(name):
    backbone, size = NETWORKS[name]
    found = layers.layers(backbone, size, batch=2).values()
    trunk, _ = arithmetic.forward(Network(backbone, ExpressionHead((4,), 3)), size, "head", 2)
    attended = sum(calls * layer.multiply_adds for layer, calls in found if layer.kind == "attention")
    assert sum(calls * layer.multiply_adds for layer, calls in found) - attended == trunk
    calls = {kind: sum(n for layer, n in found if layer.kind == kind) for kind in {one.kind for one, _ in found}}
    if name == "vit":
        assert attended == 2 * 2 * 2 * 17 * 17 * 32
        assert calls == {"dense": 9, "attention": 2, "GELU": 2, "layer norm": 5, "class token and positions": 1}
    else:
        assert (calls["depthwise 3×3"], calls["depthwise 5×5"]) == (7, 9)
        assert calls["batch-norm, ReLU6"] == sum(n for kind, n in calls.items() if "×" in kind)


def test_attention_is_the_same_in_both_ways():
    qkv, weights = (jax.random.normal(jax.random.key(i), (2, 9, width)) for i, width in ((0, 48), (1, 16)))

    def both(function):
        return jax.value_and_grad(lambda x: jnp.sum(function(x, 4) * weights))(qkv)

    one, other = both(attention), both(layers.attention_in_place)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, other)
    np.testing.assert_allclose(attention(qkv, 4), layers.attention_in_place(qkv, 4), rtol=1e-5, atol=1e-6)


def test_the_table_has_a_row_for_each_type(monkeypatch):
    monkeypatch.setattr(layers, "processor_seconds", lambda function, *arguments: 1e-3)
    monkeypatch.setattr(
        layers.backbones, "build", lambda model: NETWORKS["vit" if model.name == "vit" else "efficientnet"][0]
    )
    found = {
        "peak_per_second": 1e11,
        "networks": [layers.network(name) for name in layers.NETWORKS],
        "ways": layers.ways(),
    }
    header, rows, said = performance.layers(found)
    assert all(len(row) == len(header) for row in rows)
    assert sum("as one program" in row[0] for row in rows) == 2
    assert sum(row[0].startswith("vit: ") for row in rows) == 6
    assert rows[-1][0] == "depthwise 5×5, the library's"
    assert said.endswith("100 G multiply-adds a processor second.")


def test_processor_time_is_of_the_call():
    a = jnp.ones((400, 400))
    small, large = (layers.processor_seconds(lambda x, n=n: jax.lax.fori_loop(0, n, lambda _, y: y @ x * 1e-3, x), a)
                    for n in (1, 30))  # fmt: skip
    assert 0 < small < large
