"""Adam in Keras' form: by hand, and against optax where the two agree."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax.training.optimizer import keras_adam


def test_the_first_steps_by_hand():
    gradients = [3e-7, -1e-7]
    optimizer = keras_adam(0.1, b1=0.9, b2=0.99, eps=1e-7)
    params = jnp.asarray(1.0)
    state = optimizer.init(params)
    m = v = 0.0
    for t, gradient in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        expected = -0.1 * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        update, state = optimizer.update(jnp.asarray(gradient), state)
        np.testing.assert_allclose(update, expected, rtol=1e-5)
    # The first step in closed form: at a gradient of 3 eps, a quarter of the full step.
    first, _ = optimizer.update(jnp.asarray(3e-7), optimizer.init(params))
    np.testing.assert_allclose(first, -0.1 * 0.3 / (0.3 + 1), rtol=1e-4)


def test_far_above_eps_it_is_optaxs_adam():
    params = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    ours, theirs = keras_adam(1e-2), optax.adam(1e-2, eps=1e-7)
    states = ours.init(params), theirs.init(params)
    for t in range(5):
        gradients = jax.tree.map(lambda p, t=t: jnp.cos(p + t) + 2, params)
        mine, state = jax.jit(ours.update)(gradients, states[0])
        their, other = theirs.update(gradients, states[1])
        states = state, other
        for x, y in zip(jax.tree.leaves(mine), jax.tree.leaves(their), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5)
