"""The diagonal of the Fisher information, one image at a time."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import losses
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.small import Mlp
from fer_jax.training import importance


def test_it_is_the_mean_square_of_single_gradients():
    network = Network(Mlp((4, 3)), ExpressionHead((), 5))
    params = network.init(jax.random.key(0), 8)
    trainable, frozen = network.split(params, "dense1")
    labels, known = jnp.arange(21) % 3, jnp.arange(5) < 3
    activations = network.trunk(params, jax.random.uniform(jax.random.key(1), (21, 8, 8, 3)), "dense1")
    padded = jnp.pad(activations, ((0, 4), (0, 0)), constant_values=9.0), jnp.pad(labels, (0, 4), constant_values=-1)
    found = importance.fisher(trainable, frozen, *padded, known, network, "dense1")

    def loss(trainable, i):
        logits, _ = network.tail(merge(trainable, frozen), activations[i : i + 1], "dense1")
        return losses.cross_entropy(logits, labels[i : i + 1], known)[0]

    squares = [jax.tree.map(jnp.square, jax.grad(loss)(trainable, i)) for i in range(21)]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 21, *squares)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9), found, expected)
