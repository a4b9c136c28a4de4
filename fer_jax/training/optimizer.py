"""Adam as Keras has it, as an optax transformation."""

import jax
import jax.numpy as jnp
import optax


def keras_adam(
    learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-7
) -> optax.GradientTransformation:
    """Returns Adam (arXiv 1412.6980) in the order of its section 2's last paragraph, which Keras follows.

    The update is `learning_rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`. `optax.adam` corrects v
    before it adds eps, so at the first step its eps is smaller by sqrt(1 - b2), 32 times. Where gradients are as
    small as eps, as when a trained network goes on learning, that changes the step by a tenth.
    """

    def init(params) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(count=jnp.zeros((), jnp.int32), mu=zeros, nu=optax.tree.zeros_like(params))

    def update(gradients, state, params=None):
        del params
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        t = count.astype(jnp.float32)
        step = learning_rate * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        updates = jax.tree.map(lambda m, v: -step * m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)
