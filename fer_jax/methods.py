"""A method is a value: its loss, what an epoch may read, what is kept, how it answers, and what it corrects.

Adding one adds a row here, a loss in `losses` and a test; it touches no loop. One of a user's own is named in the
config by its dotted path (`resolve`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fer_jax import corrections, losses, replay
from fer_jax.config import dotted
from fer_jax.errors import UserError

Params = Any


class Outputs(NamedTuple):
    """What a loss sees of one batch.

    logits: f32[B, C] of the model in training.
    features: f32[B, D], the pooled backbone features below the head.
    labels: i32[B].
    teacher_logits: f32[B, C] of the frozen teacher, 0 for classes that it lacks.
    kept: bool[B], whether the example is read from the memory; None in the base task.
    recorded: f32[B, C], the logits that were recorded when an example was kept, NaN where none were; None for a method
      that records none.
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array
    teacher_logits: jax.Array
    kept: jax.Array | None = None
    recorded: jax.Array | None = None


class Context(NamedTuple):
    """What changes with the increment; always an argument of the compiled step, never a closure.

    class_mask: bool[C], the classes known during the increment, the new ones included.
    teacher_mask: bool[C], the classes the teacher knows.
    distill_mask: bool[C], the classes over which teacher and student are compared.
    gamma: f32[], the weight of distillation in the paper's loss.
    temperature: f32[].
    new_mask: bool[C], the classes learned in the increment; None in the base task.
    strength: f32[], the weight of a method's own term.
    learning_rate: f32[]; None takes the recipe's.
    anchor: what a regularizer holds on to, such as (importance, parameters) of the trainable part.
    """

    class_mask: jax.Array
    teacher_mask: jax.Array
    distill_mask: jax.Array
    gamma: jax.Array
    temperature: jax.Array
    new_mask: jax.Array | None = None
    strength: jax.Array | None = None
    learning_rate: jax.Array | None = None
    anchor: Any = None


Loss = Callable[[Outputs, Context], jax.Array]
Regularizer = Callable[[Params, Context], jax.Array]
# (head, logits f32[R, C] and labels i32[R] of reserved images, -1 for a row that is none, context) to the corrected
# head, and the numbers that it was corrected by.
Correction = Callable[[Params, jax.Array, jax.Array, Context], tuple[Params, dict[str, float]]]

READS = ("memory", "replay", "paired", "new", "all", "exemplars")


@dataclasses.dataclass(frozen=True)
class Method:
    """How to learn more classes.

    loss: from a batch's outputs to f32[B]; None for a method that trains nothing and answers by statistics of the base
      model's features.
    reads: which training images an epoch may read. memory: the exemplars and m images of each new class, drawn anew
      every epoch; replay: the exemplars and all images of the new classes; paired: the same, but half of every batch is
      new images, each once an epoch, and half exemplars; new: m images of each new class only; all: all images of all
      classes seen so far; exemplars: those alone, of the new classes, too.
    keeps: the memory rule of a method that replays, by name (`replay.RULES`) or the dotted path of a score.
    fills: whether the memory takes the new classes in before or after the training; before needs a rule that looks at
      no model.
    teacher: whose logits the loss sees: none, the base model's, or the previous increment's.
    records: whether the logits of an example are recorded when it is kept.
    regularizer: on the trainable parameters, with what `anchors` gave after the increments before.
    correct: of the head after an increment, on images that were reserved from training.
    reserved: the share of the exemplars, and as many new images a class, that is reserved for that.
    classifiers: how it answers: by the network, by the nearest mean of exemplars' features, by the nearest class mean
      or linear discriminant analysis of the base model's features. The first is the method's, each is reported.
    validates: whose validation images choose the epoch: all seen classes, or the new ones only.
    starts_from: the previous increment's model, the base model, or its trunk with the rest at random.
    settings: the section of the config that has its cut, epochs and learning rate.
    strength: the weight of its own term, as its paper has it; see `Context`.
    """

    name: str
    loss: Loss | None
    reads: Literal["memory", "replay", "paired", "new", "all", "exemplars"]
    keeps: str = "predictive_sort"
    fills: Literal["before", "after"] = "after"
    teacher: Literal["none", "base", "previous"] = "none"
    records: bool = False
    regularizer: Regularizer | None = None
    correct: Correction | None = None
    reserved: float = 0.0
    classifiers: tuple[str, ...] = ("network",)
    validates: Literal["seen", "new"] = "seen"
    starts_from: Literal["previous", "base", "scratch"] = "previous"
    settings: Literal["continual", "joint", "gdumb"] = "continual"
    strength: float | None = None

    @property
    def replays(self) -> bool:
        """Whether exemplars are trained on."""
        return self.reads in ("memory", "replay", "paired", "exemplars")


def cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """Cross-entropy over the known classes, f32[B]."""
    return losses.cross_entropy(outputs.logits, outputs.labels, context.class_mask)


def distilled_cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """`(1 - gamma) CE + gamma KD`, f32[B] (arXiv 2308.06197)."""
    distillation = losses.distillation(
        outputs.teacher_logits, outputs.logits, context.distill_mask, context.temperature
    )
    return (1 - context.gamma) * cross_entropy(outputs, context) + context.gamma * distillation


def _old_distillation(outputs: Outputs, context: Context) -> jax.Array:
    """Distillation over the classes of the previous model, temperature 2 as in LwF, BiC and WA, f32[B]."""
    return losses.distillation(outputs.teacher_logits, outputs.logits, context.teacher_mask, 2.0)


def learning_without_forgetting(outputs: Outputs, context: Context) -> jax.Array:
    """`CE + strength KD over the old classes`, f32[B] (LwF, arXiv 1606.09282, equations 2 to 4).

    Temperature 2 and strength 1 as there. There every task has a softmax of its own and is named at test time; here
    the cross-entropy runs over all known classes, since one class alone has nothing to be told from. There the new
    head is first trained alone, a warm-up; here it is trained with the rest from the start.
    """
    return cross_entropy(outputs, context) + context.strength * _old_distillation(outputs, context)


def icarl_loss(outputs: Outputs, context: Context) -> jax.Array:
    """One sigmoid a class; old classes' targets are the previous model's outputs (arXiv 1611.07725, algorithm 3).

    Of the increments: the base model, which all methods share, is trained by softmax and cross-entropy.
    """
    own = jax.nn.one_hot(outputs.labels, context.class_mask.shape[0])
    targets = jnp.where(context.teacher_mask, jax.nn.sigmoid(outputs.teacher_logits), own)
    return losses.binary_cross_entropy(outputs.logits, targets, context.class_mask)


def dark_experience(outputs: Outputs, context: Context) -> jax.Array:
    """`CE of new + strength MSE to recorded logits + CE of replayed`, f32[B] (DER++, arXiv 2004.07211, equation 6).

    alpha is the strength, 0.5 of the .1 to 1 used there, and beta 1, one of the two values there. With the other, 0.5,
    batches drawn from memory and new images alike would weigh the memory less than its share of them. There each term
    of the memory has a batch of its own, here one serves both; the memory takes the new images in, and their logits,
    after the increment and not on the way.
    """
    matching = jnp.where(outputs.kept, losses.logit_matching(outputs.logits, outputs.recorded), 0.0)
    return cross_entropy(outputs, context) + context.strength * matching


def weighted_distillation(outputs: Outputs, context: Context) -> jax.Array:
    """`(1 - n/K) CE + n/K KD`, n of K classes old, f32[B] (BiC, arXiv 1905.13260, equation 5; WA, 1911.07053, 6)."""
    old = jnp.sum(context.teacher_mask) / jnp.sum(context.class_mask)
    return (1 - old) * cross_entropy(outputs, context) + old * _old_distillation(outputs, context)


def asymmetric_cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """New examples compete among the new classes alone, those in the memory among all, f32[B] (arXiv 2104.05025).

    As there the memory takes new examples in before the increment ends: of a class that comes alone nothing would be
    learned otherwise.
    """
    alone = ~outputs.kept
    # A label among the new classes for every example, so that no infinite loss is there to be masked.
    labels = jnp.where(alone, outputs.labels, jnp.argmax(context.new_mask))
    among_new = losses.cross_entropy(outputs.logits, labels, context.new_mask)
    return jnp.where(alone, among_new, cross_entropy(outputs, context))


def elastic_penalty(trainable: Params, context: Context) -> jax.Array:
    """`strength / 2 sum F (w - w*)²`, f32[] (EWC, arXiv 1612.00796, equation 3).

    The strength is the paper's lambda, which depends on data and network; 1000 is this project's own default, and a
    search multiplies it.
    """
    importance, before = context.anchor
    terms = jax.tree.map(lambda f, w, w0: jnp.sum(f * jnp.square(w - w0)), importance, trainable, before)
    return context.strength / 2 * sum(jax.tree.leaves(terms))


METHODS = {
    method.name: method
    for method in (
        # The paper: knowledge distillation from the base model and Predictive Sorting Memory Replay.
        Method("kd_psmr", distilled_cross_entropy, reads="memory", teacher="base"),
        # Lower bound: the new class only, under the protocol of the others. Validation images of all seen classes
        # choose its epoch, so it mostly stops before it has forgotten much.
        Method("finetune", cross_entropy, reads="new"),
        # Lower bound of a learner that has nothing of the old classes, validation images included.
        Method("finetune_blind", cross_entropy, reads="new", validates="new"),
        # Upper bound: all images of all classes seen so far.
        Method("joint", cross_entropy, reads="all", starts_from="base", settings="joint"),
        # Li and Hoiem, arXiv 1606.09282: no old image, the previous model's answers on the new ones.
        Method("lwf", learning_without_forgetting, reads="new", teacher="previous", strength=1.0),
        # Kirkpatrick et al., arXiv 1612.00796, one anchor for all tasks before (Schwarz et al., arXiv 1805.06370).
        Method("ewc", cross_entropy, reads="new", regularizer=elastic_penalty, strength=1000.0),
        # Experience replay (Chaudhry et al., arXiv 1902.10486, algorithm 1): class-balanced random memory, and a
        # reservoir. There the memory takes the new images in batch by batch, here after the increment.
        Method("er", cross_entropy, reads="replay", keeps="random"),
        Method("er_reservoir", cross_entropy, reads="replay", keeps="reservoir"),
        # Rebuffi et al., arXiv 1611.07725: herding; nearest mean of exemplars, and the network's own answer.
        Method(
            "icarl", icarl_loss, reads="replay", keeps="herding", teacher="previous",
            classifiers=("exemplar_mean", "network"),
        ),
        # Buzzega et al., arXiv 2004.07211.
        Method("derpp", dark_experience, reads="replay", keeps="reservoir", records=True, strength=0.5),
        # Zhao et al., arXiv 1911.07053: distillation, then the new columns are scaled to the old ones' length.
        Method(
            "wa", weighted_distillation, reads="replay", keeps="herding", teacher="previous",
            correct=corrections.align_weights,
        ),
        # Wu et al., arXiv 1905.13260: distillation, then two numbers for the new logits, fitted on reserved images.
        Method(
            "bic", weighted_distillation, reads="replay", keeps="herding", teacher="previous",
            correct=corrections.correct_bias, reserved=0.1,
        ),
        # Prabhu et al., ECCV 2020: a balanced memory, and a model trained on it alone, anew at each step.
        Method("gdumb", cross_entropy, reads="exemplars", keeps="random", fills="before", starts_from="scratch",
               settings="gdumb"),
        # Caccia et al., arXiv 2104.05025.
        Method("er_ace", asymmetric_cross_entropy, reads="replay", keeps="reservoir", fills="before"),
        # No training: the nearest class mean (Mensink et al., PAMI 2013), and streaming linear discriminant analysis
        # (Hayes and Kanan, arXiv 1909.01520), of the base model's features.
        Method("ncm", None, reads="new", classifiers=("class_mean",)),
        Method("slda", None, reads="new", classifiers=("discriminant",)),
    )
}  # fmt: skip
# What their papers, of streams that are seen once, do: a batch of memory beside each batch of new images. Above they
# read the union of both, as iCaRL, WA and BiC do: where classes come one at a time it is the stronger way.
METHODS |= {
    f"{name}_paired": dataclasses.replace(METHODS[name], name=f"{name}_paired", reads="paired")
    for name in ("er", "derpp", "er_ace")
}


def rule_of(method: Method) -> replay.Rule:
    """A method's memory rule.

    Raises:
      UserError: there is none of that name, or what the path names is no function.
    """
    if method.keeps in replay.RULES:
        return replay.RULES[method.keeps]
    return replay.Rule(
        dotted.function(method.keeps, f"one of {', '.join(replay.RULES)}, or the dotted path of a score")
    )


def resolve(name: str) -> Method:
    """A method by its name, or by the dotted path of a `Method` of the user's own.

    Raises:
      UserError: there is no such method, or what the path names is none.
    """
    if name in METHODS:
        return METHODS[name]
    found = dotted.find(name, f"one of {', '.join(METHODS)}, or the dotted path of a fer_jax.methods.Method")
    if not isinstance(found, Method):
        raise UserError(f"{name!r} is a {type(found).__name__}; it may be a fer_jax.methods.Method")
    if found.reads not in READS:
        raise UserError(f"{name!r} reads {found.reads!r}; it may read {', '.join(READS)}")
    rule_of(found)
    return dataclasses.replace(found, name=name)
