"""Corrections of the head after an increment, against the bias towards the classes seen last.

A correction takes (head, logits f32[R, C], labels i32[R], context): the logits and labels of reserved images, None if
the method reserves none; a label is -1 where a row is no image. It returns the head, and the numbers of the correction.
One with a true attribute `reads_features` takes `Features` as a fifth argument.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import rng

Params = Any


class Features(NamedTuple):
    """The features that the head sees after training: of the exemplars, and of the new classes' images.

    features: f32[R, D].
    labels: i32[R], -1 where a row is no image.
    logits: from (head, features f32[R, D]) to f32[R, C], without dropout.
    """

    features: jax.Array
    labels: jax.Array
    logits: Callable[[Params, jax.Array], jax.Array]


def align_weights(head: Params, logits: None, labels: None, context: Any) -> tuple[Params, dict[str, jax.Array]]:
    """Scales the new classes' columns to the mean length of the old ones' (WA, arXiv 1911.07053, equations 8 and 9).

    There weights are also clipped to be positive in training, from the base task on; here all methods share a base
    model, whose weights are of both signs. The bias is left as it is.
    """
    del logits, labels
    kernel, new, known = head["logits"]["kernel"], context.new_mask, context.class_mask
    lengths = jnp.linalg.norm(kernel, axis=0)
    old = known & ~new
    factor = jnp.mean(lengths, where=old) / jnp.mean(lengths, where=new)
    scaled = jnp.where(new, factor * kernel, kernel)
    return {**head, "logits": {**head["logits"], "kernel": scaled}}, {"factor": factor}


def correct_bias(head: Params, logits: jax.Array, labels: jax.Array, context: Any) -> tuple[Params, dict[str, float]]:
    """Fits `alpha z + beta` to the new classes' logits z on reserved images (BiC, arXiv 1905.13260, equation 4).

    alpha and beta are put into the new classes' columns, which say the same as a layer behind them. What is minimised
    is the cross-entropy, convex in both, and as in the authors' code .1 beta² / 2: without it a few reserved images
    that can be told apart have no best beta.
    """
    from scipy import optimize  # four tenths of a second

    new, known = context.new_mask, context.class_mask

    def objective(numbers: np.ndarray) -> tuple[np.float64, np.ndarray]:
        return tuple(map(np.float64, _bias_loss(jnp.float32(numbers), logits, labels, new, known)))

    minimum = optimize.minimize(objective, np.array([1.0, 0.0]), jac=True)
    alpha, beta = jnp.float32(minimum.x[0]), jnp.float32(minimum.x[1])
    kernel, bias = head["logits"]["kernel"], head["logits"]["bias"]
    fitted = {"kernel": jnp.where(new, alpha * kernel, kernel), "bias": jnp.where(new, alpha * bias + beta, bias)}
    return {**head, "logits": fitted}, {"alpha": float(alpha), "beta": float(beta)}


correct_bias.reserved = 0.1  # the share of images that it is fitted on, as in the paper


@jax.jit
@jax.value_and_grad
def _bias_loss(numbers: jax.Array, logits: jax.Array, labels: jax.Array, new: jax.Array, known: jax.Array) -> jax.Array:
    corrected, there = jnp.where(new, numbers[0] * logits + numbers[1], logits), labels >= 0
    # A label that is known for every row, so that no infinite loss is there to be masked.
    filled = jnp.where(there, labels, jnp.argmax(known))
    where = jnp.broadcast_to(known, corrected.shape)
    loss = optax.softmax_cross_entropy_with_integer_labels(corrected, filled, where=where)
    return jnp.mean(jnp.where(known[filled], loss, jnp.inf), where=there) + 0.1 * numbers[1] ** 2 / 2


DRAWS = 256  # of each class in every epoch, and rows of a batch
ALIGNING_EPOCHS = 3
_TEMPERATURE = 0.1


def align_classifier(
    head: Params, logits: None, labels: None, context: Any, seen: Features
) -> tuple[Params, dict[str, jax.Array]]:
    """Trains the head alone on draws from a Gaussian of each known class's features (SLCA, arXiv 2303.05118).

    DRAWS a class from N(μ, S + 1e-4 I), new in each of 3 epochs of SGD (learning rate .01 on half a cosine, momentum
    .9), on the cross-entropy of logits / (.1 ‖logits‖). There the length is the mean over tasks; here it is that of all
    known logits. The number is the last epoch's mean loss.
    """
    del logits, labels
    return _aligned(head, seen.features, seen.labels, context.class_mask, seen.logits)


align_classifier.reads_features = True


@functools.partial(jax.jit, static_argnames="logits_of")
def _aligned(head: Params, features: jax.Array, labels: jax.Array, known: jax.Array, logits_of: Callable):
    optimizer = optax.sgd(optax.cosine_decay_schedule(0.01, ALIGNING_EPOCHS * len(known)), momentum=0.9)

    def step(carry, batch):
        (head, state), (rows, row_labels) = carry, batch
        loss, gradient = jax.value_and_grad(_aligning_loss)(head, rows, row_labels, known, logits_of)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(head, updates), state), loss

    def epoch(carry, number):
        draw_key, order_key = jax.random.split(jax.random.fold_in(rng.derive(0, "classifier alignment"), number))
        drawn = _drawn(draw_key, features, labels, len(known)).reshape(-1, features.shape[1])
        of_class = jnp.repeat(jnp.arange(len(known)), DRAWS)
        order = jax.random.permutation(order_key, len(drawn)).reshape(-1, DRAWS)
        carry, losses = jax.lax.scan(step, carry, (drawn[order], of_class[order]))
        return carry, jnp.mean(losses)

    (head, _), losses = jax.lax.scan(epoch, (head, optimizer.init(head)), jnp.arange(ALIGNING_EPOCHS))
    return head, {"loss": losses[-1]}


def _drawn(key: jax.Array, features: jax.Array, labels: jax.Array, n_classes: int, draws: int = DRAWS) -> jax.Array:
    """Draws f32[C, draws, D] from a Gaussian of each class's mean and covariance + 1e-4 I.

    Random sums of what is left of the features after their mean have that covariance. Unlike a root of it, they need no
    factorisation of what is singular where a class has fewer images than features.
    """

    def of_class(c):
        rows, sums, noise = labels == c, *jax.random.split(jax.random.fold_in(key, c))
        count = jnp.maximum(jnp.sum(rows), 1)
        mean = jnp.sum(jnp.where(rows[:, None], features, 0.0), 0) / count
        rest = jnp.where(rows[:, None], features - mean, 0.0) / jnp.sqrt(count)
        spread = jax.random.normal(sums, (draws, len(rest))) @ rest
        return mean + spread + 1e-2 * jax.random.normal(noise, (draws, len(mean)))

    return jax.lax.map(of_class, jnp.arange(n_classes))


def _aligning_loss(head: Params, rows: jax.Array, labels: jax.Array, known: jax.Array, logits_of: Callable):
    logits = jnp.where(known, logits_of(head, rows), 0.0)
    # Not norm, whose gradient at 0 is not a number.
    length = jnp.sqrt(jnp.sum(jnp.square(logits), 1, keepdims=True) + 1e-12)
    where = jnp.broadcast_to(known, logits.shape)
    # The draws of unknown classes are told to be of a known one, so that no infinite loss is there to be masked.
    told = jnp.where(known[labels], labels, jnp.argmax(known))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits / (_TEMPERATURE * length), told, where=where)
    return jnp.sum(jnp.where(known[labels], loss, 0.0)) / jnp.maximum(jnp.sum(known[labels]), 1)
