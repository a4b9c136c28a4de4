"""A method is a value: its loss, what an epoch may read, what is kept, and where each increment starts.

Adding one adds a row here, a loss in `losses` and a test; it touches no loop.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax

from fer_jax import losses


class Outputs(NamedTuple):
    """What a loss sees of one batch.

    logits: f32[B, C] of the model in training.
    features: f32[B, D], the pooled backbone features below the head.
    labels: i32[B].
    teacher_logits: f32[B, C] of the frozen base model, 0 for classes that it lacks.
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array
    teacher_logits: jax.Array


class Context(NamedTuple):
    """What changes with the increment; always an argument of the compiled step, never a closure.

    class_mask: bool[C], the classes known during the increment, the new one included.
    teacher_mask: bool[C], the classes the teacher knows.
    distill_mask: bool[C], the classes over which teacher and student are compared.
    gamma: f32[], the weight of distillation.
    temperature: f32[].
    """

    class_mask: jax.Array
    teacher_mask: jax.Array
    distill_mask: jax.Array
    gamma: jax.Array
    temperature: jax.Array


Loss = Callable[[Outputs, Context], jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
    """How to learn one more class.

    loss: from a batch's outputs to f32[B].
    reads: which training images an epoch may read: the memory and m images of the new class, m images of the new
      class only, or all images of all classes seen so far.
    validates: whose validation images choose the epoch: all seen classes, or the new class only.
    starts_from: the previous increment's model, or the base model.
    """

    name: str
    loss: Loss
    reads: Literal["memory", "new", "all"]
    validates: Literal["seen", "new"] = "seen"
    starts_from: Literal["previous", "base"] = "previous"
    uses_teacher: bool = False


def cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """Cross-entropy over the known classes, f32[B]."""
    return losses.cross_entropy(outputs.logits, outputs.labels, context.class_mask)


def distilled_cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """`(1 - gamma) CE + gamma KD`, f32[B] (arXiv 2308.06197)."""
    distillation = losses.distillation(
        outputs.teacher_logits, outputs.logits, context.distill_mask, context.temperature
    )
    return (1 - context.gamma) * cross_entropy(outputs, context) + context.gamma * distillation


METHODS = {
    method.name: method
    for method in (
        # The paper: knowledge distillation from the base model and Predictive Sorting Memory Replay.
        Method("kd_psmr", distilled_cross_entropy, reads="memory", uses_teacher=True),
        # Lower bound: the new class only, under the protocol of the others. Validation images of all seen classes
        # choose its epoch, so it mostly stops before it has forgotten much.
        Method("finetune", cross_entropy, reads="new"),
        # Lower bound of a learner that has nothing of the old classes, validation images included.
        Method("finetune_blind", cross_entropy, reads="new", validates="new"),
        # Upper bound: all images of all classes seen so far.
        Method("joint", cross_entropy, reads="all", starts_from="base"),
    )
}
