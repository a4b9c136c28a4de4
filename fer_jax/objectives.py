"""Objectives as values: weighted loss terms, and the views, targets, heads and batches that they need.

The base task, the increments and the few-shot phase share this one kind of value. A term is a function of one batch
(`Outputs`, `Context`) that returns one number for each example; a config names a user's own by its dotted path.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from fer_jax import losses

Params = Any


class Outputs(NamedTuple):
    """The network's outputs and the facts of one batch, as a loss term sees them.

    R rows are the views of B examples: R = B with one view. A term over the whole batch sees the rows of all devices.

    logits: f32[R, C] of the model in training.
    features: f32[R, D], the pooled backbone features below the head.
    labels: i32[R].
    teacher_logits: f32[R, C] of the frozen teacher, 0 for classes that it lacks.
    stored: bool[R], whether the example was read from the exemplar memory; None in the base task.
    recorded: f32[R, C], the logits that were recorded when an example was stored, NaN where none were; None for a
      method that records none.
    subjects: i32[R], who is on the image.
    targets: [R, ...] by name, the extra targets that the objective asks for.
    heads: f32[R, W] by name, what the objective's extra heads make of the features.
    examples: i32[R], the example of the batch that a row is a view of.
    shares: f32[R] in [.5, 1], how much of a mixed image is the row's own; None where images are not mixed.
    partners: i32[R], the labels of the images that were mixed in.
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array
    teacher_logits: jax.Array
    stored: jax.Array | None = None
    recorded: jax.Array | None = None
    subjects: jax.Array | None = None
    targets: Mapping[str, jax.Array] = flax.core.FrozenDict()
    heads: Mapping[str, jax.Array] = flax.core.FrozenDict()
    examples: jax.Array | None = None
    shares: jax.Array | None = None
    partners: jax.Array | None = None


class Context(NamedTuple):
    """The values that change with the increment; always an argument of the compiled step, never a closure.

    class_mask: bool[C], the classes known during the increment, the new ones included.
    teacher_mask: bool[C], the classes the teacher knows.
    distill_mask: bool[C], the classes over which teacher and student are compared.
    gamma: f32[], the weight of distillation in the paper's loss.
    temperature: f32[].
    new_mask: bool[C], the classes learned in the increment; None in the base task.
    strength: f32[], the weight of a method's own term.
    learning_rate: f32[]; None takes the recipe's.
    anchor: what a penalty holds on to, such as (importance, parameters) of the trainable part.
    frozen: the parameters that are not trained.
    teacher: the teacher's parameters; empty without one.
    class_weights: f32[C], how much an example of each class counts; None where all count the same.
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
    frozen: Params = None
    teacher: Params = None
    class_weights: jax.Array | None = None

    @classmethod
    def of_base(cls, class_mask: jax.Array) -> "Context":
        """Returns the context of a task without teacher and memory, with the classes bool[C]."""
        return cls(class_mask, class_mask, class_mask, jnp.float32(0), jnp.float32(1))


Loss = Callable[[Outputs, Context], jax.Array]
# (trainable parameters, context) to f32[], added to the mean loss.
Penalty = Callable[[Params, Context], jax.Array]
# (key, images f32[B, H, W, 3] in [0, 1], positions i32[B] in the whole batch) to images.
Augmentation = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
BATCHES = ("shuffled", "balanced", "subject_pairs")
BALANCES = ("none", "weights", "sampler")


@dataclasses.dataclass(frozen=True)
class Term:
    """A weighted loss term.

    loss: from a batch's outputs to f32[R].
    weight: factor of the term.
    whole_batch: whether the loss compares examples with each other. It then receives the rows of all devices, and
      its value does not depend on how many these are.
    needs_teacher: whether the loss reads the teacher's logits; a method without a teacher refuses it.
    """

    loss: Loss
    weight: float = 1.0
    whole_batch: bool = False
    needs_teacher: bool = False


def _frozen(value: Mapping) -> flax.core.FrozenDict:
    return flax.core.FrozenDict(value)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The function that a fit minimises, and the data that it needs.

    terms: loss terms by name; a bare function counts as a term of weight 1.
    penalties: on the trainable parameters, by name.
    views: augmented views of each image of a batch; contrastive terms need 2.
    targets: names of extra targets that the terms read, such as "action_units".
    heads: extra heads on the features by name, each the widths of its dense layers, ReLU between them. A head exists
      during the fit only.
    batches: how an epoch's images are put into batches: shuffled; balanced, the classes in turn; or subject_pairs, two
      images of a person side by side.
    weighted: whether the loss of each example is weighted so that all classes of an epoch count the same.
    augmentation: replaces the config's.
    mixup: each view of an image is mixed with that of another one of the batch, by a share of Beta(mixup, mixup)
      (arXiv 1710.09412); 0 mixes none. The larger share is the image's own.
    twins: the name of a target u8[N, H, W, 3], pictures of the same expressions in other people, and the share of
      views, of several those after the first, that show it in the place of the image.
    """

    terms: Mapping[str, Term | Loss]
    penalties: Mapping[str, Penalty] = flax.core.FrozenDict()
    views: int = 1
    targets: tuple[str, ...] = ()
    heads: Mapping[str, tuple[int, ...]] = flax.core.FrozenDict()
    batches: Literal["shuffled", "balanced", "subject_pairs"] = "shuffled"
    weighted: bool = False
    augmentation: Augmentation | None = None
    mixup: float = 0.0
    twins: tuple[str, float] = ("", 0.0)

    def __post_init__(self):
        terms = {name: term if isinstance(term, Term) else Term(term) for name, term in self.terms.items()}
        heads = {name: tuple(widths) for name, widths in self.heads.items()}
        for name, value in (("terms", terms), ("penalties", self.penalties), ("heads", heads)):
            object.__setattr__(self, name, _frozen(value))  # hashable: an objective is compiled in
        if isinstance(self.targets, str):
            raise ValueError(f"targets is {self.targets!r}; it may be a tuple of names")
        twin, share = self.twins
        if not 0 <= share <= 1:
            raise ValueError(f"twins has the share {share!r}; it may be a number from 0 to 1")
        object.__setattr__(self, "targets", tuple(dict.fromkeys((*self.targets, *([twin] if share else [])))))
        if not terms:
            raise ValueError("an objective needs at least one term")
        if self.views < 1:
            raise ValueError(f"views is {self.views}; it may be from 1")
        if not self.mixup >= 0:
            raise ValueError(f"mixup is {self.mixup!r}; it may be a number from 0")
        if self.batches not in BATCHES:
            raise ValueError(f"batches is {self.batches!r}; it may be one of {', '.join(BATCHES)}")

    @classmethod
    def of(cls, value: "Objective | Term | Loss") -> "Objective":
        """Returns an objective as it is, and a term or a loss function as the objective of that term alone."""
        return value if isinstance(value, cls) else cls({"loss": value})

    @property
    def sees_own_views(self) -> bool:
        """True if it makes views of an image that a cache of the config's views does not have."""
        return self.views > 1 or self.mixup > 0 or self.twins[1] > 0 or self.augmentation is not None

    def replace(self, **changes) -> "Objective":
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def balanced(self, how: str) -> "Objective":
        """Returns a copy in which all classes count the same, by one of BALANCES.

        "weights" weighs the loss of each example, "sampler" draws as many examples of each class. In expectation both
        have the same gradient; the sampler repeats the images of small classes and may not reach all of large ones.

        Raises:
          ValueError: another way to put images into batches is asked for.
        """
        if how == "sampler" and self.batches == "subject_pairs":
            raise ValueError("its batches are subject_pairs; balance may be none or weights")
        return self.replace(**{"none": {}, "weights": {"weighted": True}, "sampler": {"batches": "balanced"}}[how])

    def value(self, outputs: Outputs, context: Context, whole: Callable[[Outputs], Outputs], mine) -> jax.Array:
        """Returns the weighted sum of the terms, f32[R].

        Args:
          whole: gathers the outputs of all devices.
          mine: takes this device's rows of what `whole` made.
        """
        total = None
        for term in self.terms.values():
            loss = mine(term.loss(whole(outputs), context)) if term.whole_batch else term.loss(outputs, context)
            loss = loss if term.weight == 1 else term.weight * loss
            total = loss if total is None else total + loss
        return total if context.class_weights is None else context.class_weights[outputs.labels] * total

    def penalty(self, trainable: Params, context: Context) -> jax.Array | float:
        """Returns the sum of the penalties, f32[]."""
        return sum(one(trainable, context) for one in self.penalties.values())


@dataclasses.dataclass(frozen=True)
class WeightDecay:
    """A penalty `weight * sum w²` of the parameters that a pattern names, such as `head/hidden\\d+/kernel`.

    The pattern is a regular expression for the whole path of a parameter.
    """

    pattern: str
    weight: float

    def __call__(self, params: Params, context: Context | None = None) -> jax.Array:
        """Returns the penalty, f32[]."""
        del context
        named = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree.leaves_with_path(params)
        }
        return self.weight * sum(
            jnp.sum(jnp.square(w)) for name, w in named.items() if re.fullmatch(self.pattern, name)
        )


def cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the cross-entropy over the known classes, f32[R]; of a mixed image that of both labels, by shares."""
    own = losses.cross_entropy(outputs.logits, outputs.labels, context.class_mask)
    if outputs.shares is None:
        return own
    other = losses.cross_entropy(outputs.logits, outputs.partners, context.class_mask)
    return outputs.shares * own + (1 - outputs.shares) * other


def distilled_cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """Returns `(1 - gamma) CE + gamma KD`, f32[R] (arXiv 2308.06197)."""
    distillation = losses.distillation(
        outputs.teacher_logits, outputs.logits, context.distill_mask, context.temperature
    )
    return (1 - context.gamma) * cross_entropy(outputs, context) + context.gamma * distillation


def supervised_contrastive(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the supervised contrastive loss of the features, or of a head called "projection", f32[R].

    Its place is `Term(supervised_contrastive, whole_batch=True)` of an objective with two views.
    """
    del context
    return losses.supervised_contrastive(outputs.heads.get("projection", outputs.features), outputs.labels)


def subject_contrastive(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the same with the other classes of the anchor's own subject as hard negatives, f32[R]."""
    del context
    embeddings = outputs.heads.get("projection", outputs.features)
    return losses.supervised_contrastive(embeddings, outputs.labels, outputs.subjects)


def instance_contrastive(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the contrastive loss without labels, f32[R]: the other views of an example are its only positives.

    The normalised, temperature-scaled cross-entropy of SimCLR (arXiv 2002.05709), at the temperature of the others.
    """
    del context
    return losses.supervised_contrastive(outputs.heads.get("projection", outputs.features), outputs.examples)


def _unit_cross_entropy(outputs: Outputs, target: str) -> jax.Array:
    """Returns the binary cross-entropy of the head "units" to a target f32[R, U] in [0, 1], its mean over units."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(outputs.heads["units"], outputs.targets[target]), -1)


def action_units(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the loss of predicted action units, f32[R], to those of the image (arXiv 2311.11980).

    An image of the data set's class table alone has the share of people who show a unit.
    """
    del context
    return _unit_cross_entropy(outputs, "action_units")


def class_action_units(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the same loss to the class table, f32[R], which costs no label but the class."""
    del context
    return _unit_cross_entropy(outputs, "class_action_units")


def _old_distillation(outputs: Outputs, context: Context) -> jax.Array:
    """Returns the distillation over the previous model's classes, f32[R]; temperature 2 as in LwF, BiC and WA."""
    return losses.distillation(outputs.teacher_logits, outputs.logits, context.teacher_mask, 2.0)


def learning_without_forgetting(outputs: Outputs, context: Context) -> jax.Array:
    """Returns `CE + strength KD over the old classes`, f32[R] (LwF, arXiv 1606.09282, equations 2 to 4).

    Temperature 2 and strength 1 as there. There every task has a softmax of its own and is named at test time; here
    the cross-entropy runs over all known classes, since one class alone has nothing to be told from. There the new
    head is first trained alone, a warm-up; here it is trained with the rest from the start.
    """
    return cross_entropy(outputs, context) + context.strength * _old_distillation(outputs, context)


def sigmoid_distillation(outputs: Outputs, context: Context) -> jax.Array:
    """Returns iCaRL's loss, one sigmoid a class, f32[R] (arXiv 1611.07725, algorithm 3).

    The targets of old classes are the previous model's outputs. The base model, which all methods share, is trained by
    softmax and cross-entropy.
    """
    own = jax.nn.one_hot(outputs.labels, context.class_mask.shape[0])
    targets = jnp.where(context.teacher_mask, jax.nn.sigmoid(outputs.teacher_logits), own)
    return losses.binary_cross_entropy(outputs.logits, targets, context.class_mask)


def dark_experience(outputs: Outputs, context: Context) -> jax.Array:
    """Returns `CE of new + strength MSE to recorded logits + CE of replayed`, f32[R] (DER++, arXiv 2004.07211, eq. 6).

    alpha is the strength, 0.5 of the .1 to 1 used there, and beta 1, one of the two values there. With the other, 0.5,
    batches drawn from memory and new images alike would weigh the memory less than its share of them. There each term
    of the memory has a batch of its own, here one serves both; the memory takes the new images in, and their logits,
    after the increment and not on the way. As in the authors' code the logits are those of an augmented view, and what
    is replayed is augmented anew.
    """
    matching = jnp.where(outputs.stored, losses.logit_matching(outputs.logits, outputs.recorded), 0.0)
    return cross_entropy(outputs, context) + context.strength * matching


def weighted_distillation(outputs: Outputs, context: Context) -> jax.Array:
    """Returns `(1 - n/K) CE + n/K KD`, n of K classes old, f32[R] (BiC, arXiv 1905.13260, eq. 5; WA, 1911.07053, 6)."""
    old = jnp.sum(context.teacher_mask) / jnp.sum(context.class_mask)
    return (1 - old) * cross_entropy(outputs, context) + old * _old_distillation(outputs, context)


def asymmetric_cross_entropy(outputs: Outputs, context: Context) -> jax.Array:
    """Returns ER-ACE's loss, f32[R] (arXiv 2104.05025).

    New examples compete among the new classes alone, those in the memory among all. As there the memory takes new
    examples in before the increment ends: of a class that comes alone nothing would be learned otherwise.
    """
    alone = ~outputs.stored
    # A label among the new classes for every example, so that no infinite loss is there to be masked.
    labels = jnp.where(alone, outputs.labels, jnp.argmax(context.new_mask))
    among_new = losses.cross_entropy(outputs.logits, labels, context.new_mask)
    return jnp.where(alone, among_new, cross_entropy(outputs, context))


def elastic_penalty(trainable: Params, context: Context) -> jax.Array:
    """Returns the penalty `strength / 2 sum F (w - w*)²`, f32[] (EWC, arXiv 1612.00796, equation 3).

    The strength is the paper's lambda, which depends on data and network; 1000 is this project's own default, and a
    search multiplies it.
    """
    importance, before = context.anchor
    anchored = {name: trainable[name] for name in before}  # without an objective's extra heads
    terms = jax.tree.map(lambda f, w, w0: jnp.sum(f * jnp.square(w - w0)), importance, anchored, before)
    return context.strength / 2 * sum(jax.tree.leaves(terms))


# Loss terms by the names that a config may give them.
TERMS = {
    "cross_entropy": Term(cross_entropy),
    "distilled_cross_entropy": Term(distilled_cross_entropy, needs_teacher=True),
    "supervised_contrastive": Term(supervised_contrastive, whole_batch=True),
    "subject_contrastive": Term(subject_contrastive, whole_batch=True),
    "instance_contrastive": Term(instance_contrastive, whole_batch=True),
    "action_units": Term(action_units),
    "class_action_units": Term(class_action_units),
}


def _two_views(*terms: str, **changes) -> Objective:
    """Returns an objective of cross-entropy and contrastive terms on two views, with a projection head."""
    named = {name: TERMS[name] for name in ("cross_entropy", *terms)}
    return Objective(named, views=2, heads={"projection": (64,)}).replace(**changes)


def _with_units(term: str) -> Objective:
    """Returns cross-entropy and the loss of a head for the 17 action units of METHOD's table."""
    return Objective({name: TERMS[name] for name in ("cross_entropy", term)}, heads={"units": (17,)}, targets=(term,))


_UNLABELLED = Objective({"instance_contrastive": TERMS["instance_contrastive"]}, views=2, heads={"projection": (64,)})
# Objectives by the names that a config may give them.
OBJECTIVES = {
    "cross_entropy": Objective({"cross_entropy": cross_entropy}),
    "distilled_cross_entropy": Objective({"distilled_cross_entropy": TERMS["distilled_cross_entropy"]}),
    # Zhang et al., arXiv 1710.09412.
    "mixup": Objective({"cross_entropy": cross_entropy}, mixup=0.3),
    # Khosla et al., arXiv 2004.11362, with a projection head, beside the cross-entropy that trains the classifier.
    "contrastive": _two_views("supervised_contrastive"),
    # The same on mixed images; to the contrastive term a mixed image is of the class of its larger share.
    "contrastive_mixup": _two_views("supervised_contrastive", mixup=0.3),
    # Other expressions of the same person as hard negatives (arXiv 2210.03853); they are in the batch, two at a time.
    "subject_contrastive": _two_views("subject_contrastive", batches="subject_pairs"),
    # The same network seen through views alone, without labels (arXiv 2002.05709).
    "instance_contrastive": _two_views("instance_contrastive"),
    # For pretraining, without any label: two views of an image, or four times in five the same units in another
    # person as the second view (arXiv 2210.03853).
    "unlabelled_contrastive": _UNLABELLED,
    "identity_swap": _UNLABELLED.replace(twins=("twin_swapped", 0.8)),
    # Half of the images are of a person between the image's own and another (as arXiv 2108.07960 mixes identities).
    "identity_mixing": Objective({"cross_entropy": cross_entropy}, twins=("twin_mixed", 0.5)),
    "action_units": _with_units("action_units"),
    "class_action_units": _with_units("class_action_units"),
}
