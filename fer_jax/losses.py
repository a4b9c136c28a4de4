"""Loss terms: pure functions of arrays that return one number for each example; nothing here reduces over the batch.

They are cross-entropy on the known classes and temperature-scaled distillation (Maiden and Nakisa, arXiv 2308.06197),
and the terms of the methods compared with it. `methods` has their weights.
"""

import math

import chex
import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Computes the cross-entropy over the known classes, `-log softmax(logits[known])[label]`.

    Args:
      logits: f32[B, C] over all classes; the values of unknown classes do not matter.
      labels: i32[B].
      class_mask: bool[C], True where a class is known.

    Returns:
      f32[B]; infinite where the label is not a known class, so that such a batch cannot go unnoticed.

    Raises:
      AssertionError: shapes that do not fit together.

    >>> loss = cross_entropy(jnp.zeros((1, 4)), jnp.array([0]), jnp.array([True, True, False, False]))
    >>> round(float(loss[0]), 3)  # ln 2: the two unknown classes take no part
    0.693
    """
    chex.assert_shape(labels, logits.shape[:1])
    chex.assert_shape(class_mask, logits.shape[1:])
    where = jnp.broadcast_to(class_mask, logits.shape)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels, where=where)
    return jnp.where(class_mask[labels], loss, jnp.inf)


def distillation(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    class_mask: jax.Array,
    temperature: float = 3.0,
) -> jax.Array:
    """Computes the cross-entropy of softened teacher and student, `H(softmax(teacher / T), softmax(student / T))`.

    There is no factor T². A class that the teacher lacks takes part with the logit given for it, 0 in the
    published code, and so does receive teacher mass.

    Args:
      teacher_logits: f32[B, C]; 0 where the teacher lacks a class.
      student_logits: f32[B, C].
      class_mask: bool[C], the classes over which both softmaxes run.
      temperature: T > 0, 3 in the paper.

    Returns:
      f32[B].

    Raises:
      AssertionError: shapes that do not fit together.

    >>> same = jnp.array([[0.0, 3.0]])
    >>> loss = distillation(same, same, jnp.array([True, True]), temperature=3.0)
    >>> round(float(loss[0]), 3)  # the entropy of softmax(0, 1)
    0.582
    """
    chex.assert_equal_shape([teacher_logits, student_logits])
    chex.assert_shape(class_mask, student_logits.shape[1:])
    # optax would expand a mask of another rank at the wrong end: [C] to [C, 1].
    where = jnp.broadcast_to(class_mask, student_logits.shape)
    teacher = jax.nn.softmax(teacher_logits / temperature, where=where)
    return optax.softmax_cross_entropy(student_logits / temperature, teacher, where=where)


def distillation_weight(increment: int, gamma: float = 0.1) -> float:
    """Computes the weight of distillation in 0-based increment i, `gamma * exp(-i / (1 + e))`.

    >>> round(distillation_weight(0), 3), round(distillation_weight(4), 3)
    (0.1, 0.034)
    """
    return gamma * math.exp(-increment / (1 + math.e))


def binary_cross_entropy(logits: jax.Array, targets: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Computes `-sum over known c of t log s(z) + (1 - t) log(1 - s(z))`, one sigmoid a class (arXiv 1611.07725).

    Args:
      logits: f32[B, C].
      targets: f32[B, C] in [0, 1].
      class_mask: bool[C], the classes that are summed over.

    Returns:
      f32[B].

    Raises:
      AssertionError: shapes that do not fit together.

    >>> loss = binary_cross_entropy(jnp.zeros((1, 3)), jnp.array([[1.0, 0.0, 0.0]]), jnp.array([True, True, False]))
    >>> round(float(loss[0]), 3)  # 2 ln 2
    1.386
    """
    chex.assert_equal_shape([logits, targets])
    chex.assert_shape(class_mask, logits.shape[1:])
    return jnp.sum(jnp.where(class_mask, optax.sigmoid_binary_cross_entropy(logits, targets), 0.0), -1)


def logit_matching(logits: jax.Array, recorded: jax.Array) -> jax.Array:
    """Computes the mean squared difference to recorded logits of an example (DER, arXiv 2004.07211, equation 5).

    Args:
      logits: f32[B, C].
      recorded: f32[B, C], NaN where nothing was recorded.

    Returns:
      f32[B], means over the recorded classes; 0 for an example without any.

    Raises:
      AssertionError: shapes that do not fit together.

    >>> logit_matching(jnp.array([[1.0, 5.0]]), jnp.array([[3.0, jnp.nan]])).tolist()
    [4.0]
    """
    chex.assert_equal_shape([logits, recorded])
    there = ~jnp.isnan(recorded)
    # Filled before the difference is taken: the gradient of a NaN that is masked afterwards is NaN.
    squares = jnp.where(there, jnp.square(logits - jnp.where(there, recorded, 0.0)), 0.0)
    return jnp.sum(squares, -1) / jnp.maximum(jnp.sum(there, -1), 1)


def supervised_contrastive(
    embeddings: jax.Array, labels: jax.Array, subjects: jax.Array | None = None, temperature: float = 0.1
) -> jax.Array:
    """Computes the supervised contrastive loss of every anchor in the batch (arXiv 2004.11362, equation 2).

    `-1/|P(a)| sum over p in P(a) of log(exp(z_a z_p / T) / sum over n != a of exp(z_a z_n / T))`, z of unit length and
    P(a) the other examples of a's class.

    Args:
      embeddings: f32[B, D], of any length.
      labels: i32[B].
      subjects: i32[B], who is on the image. If given, the other classes of the anchor's own subject are hard negatives:
        each counts in the sum as often as the batch has other subjects to one of its own, so that both kinds of
        negatives weigh the same.
      temperature: T > 0.

    Returns:
      f32[B]; 0 for an anchor that is alone in its class.

    Raises:
      AssertionError: shapes that do not fit together.

    >>> loss = supervised_contrastive(jnp.eye(3), jnp.array([0, 0, 1]), temperature=1.0)
    >>> [round(float(x), 3) for x in loss]  # ln 2: both others are as far; the third has no other of its class
    [0.693, 0.693, 0.0]
    """
    chex.assert_rank(embeddings, 2)
    chex.assert_shape(labels, embeddings.shape[:1])
    # The root of a square is not differentiable at 0, so a zero embedding is bounded before it.
    lengths = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(embeddings), -1, keepdims=True), 1e-24))
    unit = embeddings / lengths
    similarity = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST) / temperature
    others = ~jnp.eye(len(labels), dtype=bool)
    positives = others & (labels[:, None] == labels)
    weights = jnp.ones_like(similarity)
    if subjects is not None:
        chex.assert_equal_shape([labels, subjects])
        negatives = labels[:, None] != labels
        own = negatives & (subjects[:, None] == subjects)
        ratio = jnp.sum(negatives & ~own, 1, keepdims=True) / jnp.maximum(jnp.sum(own, 1, keepdims=True), 1)
        weights = jnp.where(own, jnp.maximum(ratio, 1.0), 1.0)
    log_sum = jax.nn.logsumexp(similarity, axis=1, b=weights * others, keepdims=True)
    count = jnp.sum(positives, 1)
    return jnp.sum(jnp.where(positives, log_sum - similarity, 0.0), 1) / jnp.maximum(count, 1)
