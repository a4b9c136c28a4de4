"""The table of continual learners: a method is a policy around an objective.

A policy sets what the method reads and stores, its teacher, how it answers and what it corrects. Adding a method adds a
row here, a term in `objectives` and a test; it touches no loop. A config names a user's own by its dotted path.
docs/deviations.md has what each row does otherwise than its paper.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Literal

from fer_jax import corrections, objectives, replay
from fer_jax.classifiers import CLASSIFIERS, Classifier
from fer_jax.objectives import Loss, Objective, Term

Params = Any
# (head, logits f32[R, C] and labels i32[R] of reserved images, -1 for a row that is none, context) to the corrected
# head, and the numbers that it was corrected by. Its attribute `reserved`, if it has one, is the share of images that
# are reserved for it; with `reads_features` it takes `corrections.Features` as well.
Correction = Callable[..., tuple[Params, dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class Method:
    """A continual learner: a policy around an objective.

    name: what results call it.
    objective: what is minimised, an `Objective` or a loss function alone; None for a method that trains nothing and
      answers by statistics of the base model's features.
    reads: which training images an epoch may read. memory: the exemplars and m images of each new class, drawn anew
      every epoch; replay: the exemplars and all images of the new classes; paired: the same, but half of every batch is
      new images, each once an epoch, and half exemplars; new: m images of each new class only; all: all images of all
      classes seen so far; exemplars: those alone, of the new classes, too.
    selects: the memory rule of a method that replays, a name in `replay.RULES` or a `replay.Rule`.
    fills: whether the memory takes the new classes in before or after the training; before needs a rule that looks at
      no model.
    teacher: whose logits the loss sees: none, the base model's, or the previous increment's.
    records: whether the logits of an example are recorded when it is stored.
    anchors: whether `Context.anchor` holds the parameters before the increment, and their importance.
    correct: of the head after an increment, on images that were reserved from training.
    reserved: the share of a class's places in the memory that holds those images. They are set aside before its
      increment, and no increment trains on them. The base model was trained on those of its classes.
    classifiers: how it answers, names in `classifiers.CLASSIFIERS`, "network", or `classifiers.Classifier`s. The first
      is the method's, each is reported.
    validates: whose validation images choose the epoch: all seen classes, or the new ones only; none: the last epoch is
      taken.
    starts_from: the previous increment's model, the base model, or its trunk with the rest at random.
    falls: whether the learning rate falls from epoch to epoch of an increment, as `training.fit.Job.falling`.
    settings: the section of the config that has its cut, epochs and learning rate; "deep" trains below the trunk, too.
    base: the objective of the base model that it builds on, by name; "auto" is the config's `basic.objective`. A run
      trains one base model for every objective that its methods name.
    mirrored: whether it answers, and chooses what to store, by the mean of an image's and its mirror image's features.
      Where training mirrors no image, it never does.
    strength: the weight of its own term, as its paper has it; see `Context`.
    """

    name: str
    objective: Objective | Term | Loss | None
    reads: Literal["memory", "replay", "paired", "new", "all", "exemplars"]
    selects: str | replay.Rule = "predictive_sort"
    fills: Literal["before", "after"] = "after"
    teacher: Literal["none", "base", "previous"] = "none"
    records: bool = False
    anchors: bool = False
    correct: Correction | None = None
    reserved: float = 0.0
    classifiers: tuple[str | Classifier, ...] = ("network",)
    validates: Literal["seen", "new", "none"] = "seen"
    starts_from: Literal["previous", "base", "scratch"] = "previous"
    settings: Literal["continual", "joint", "gdumb", "deep"] = "continual"
    falls: bool = False
    base: str = "auto"
    mirrored: bool = False
    strength: float | None = None

    def __post_init__(self):
        if self.objective is not None:
            object.__setattr__(self, "objective", Objective.of(self.objective))

    @property
    def trains(self) -> bool:
        """True if anything is trained."""
        return self.objective is not None

    @property
    def replays(self) -> bool:
        """True if exemplars are trained on."""
        return self.reads in ("memory", "replay", "paired", "exemplars")

    @property
    def stores(self) -> bool:
        """True if images are stored, as exemplars or all of them."""
        return self.replays or self.stores_all

    @property
    def stores_all(self) -> bool:
        """True if all images of the classes seen so far are stored: they are read, and a classifier looks at them."""
        return self.reads == "all" and any(one is not None and one.reads_stored for one in self.answers_by)

    @property
    def answers_by(self) -> tuple[Classifier | None, ...]:
        """The classifiers as values, None for the network."""
        return tuple(
            (None if one == "network" else CLASSIFIERS[one]) if isinstance(one, str) else one
            for one in self.classifiers
        )


# What the fields that name a choice may be.
CHOICES = {
    field: typing.get_args(kind)
    for field, kind in typing.get_type_hints(Method).items()
    if typing.get_origin(kind) is Literal
}


def rule_of(method: Method) -> replay.Rule:
    """Returns a method's memory rule."""
    return method.selects if isinstance(method.selects, replay.Rule) else replay.RULES[method.selects]


METHODS = {
    method.name: method
    for method in (
        # The paper: knowledge distillation from the base model and Predictive Sorting Memory Replay.
        Method("kd_psmr", objectives.distilled_cross_entropy, reads="memory", teacher="base"),
        # Lower bound: the new class only, under the protocol of the others. Validation images of all seen classes
        # choose its epoch, so it mostly stops before it has forgotten much.
        Method("finetune", objectives.cross_entropy, reads="new"),
        # Lower bound of a learner that has nothing of the old classes, validation images included.
        Method("finetune_blind", objectives.cross_entropy, reads="new", validates="new"),
        # Upper bound: all images of all classes seen so far.
        Method("joint", objectives.cross_entropy, reads="all", starts_from="base", settings="joint"),
        # Li and Hoiem, arXiv 1606.09282: no old image, the previous model's answers on the new ones.
        Method("lwf", objectives.learning_without_forgetting, reads="new", teacher="previous", strength=1.0),
        # Kirkpatrick et al., arXiv 1612.00796, one anchor for all tasks before (Schwarz et al., arXiv 1805.06370).
        Method(
            "ewc", Objective({"loss": objectives.cross_entropy}, {"elastic": objectives.elastic_penalty}), reads="new",
            anchors=True, strength=1000.0,
        ),
        # Experience replay (Chaudhry et al., arXiv 1902.10486, algorithm 1): class-balanced random memory, and a
        # reservoir. There the memory takes the new images in batch by batch, here after the increment.
        Method("er", objectives.cross_entropy, reads="replay", selects="random"),
        Method("er_reservoir", objectives.cross_entropy, reads="replay", selects="reservoir"),
        # Rebuffi et al., arXiv 1611.07725: herding; nearest mean of exemplars, and the network's own answer.
        Method(
            "icarl", objectives.sigmoid_distillation, reads="replay", selects="herding", teacher="previous",
            classifiers=("exemplar_mean", "network"),
        ),
        # Buzzega et al., arXiv 2004.07211.
        Method("derpp", objectives.dark_experience, reads="replay", selects="reservoir", records=True, strength=0.5),
        # Zhao et al., arXiv 1911.07053: distillation, then the new columns are scaled to the old ones' length.
        Method(
            "wa", objectives.weighted_distillation, reads="replay", selects="herding", teacher="previous",
            correct=corrections.align_weights,
        ),
        # Wu et al., arXiv 1905.13260: distillation, then two numbers for the new logits, fitted on reserved images. The
        # base model, which all methods share, was trained on those of its classes; there none is trained on.
        Method(
            "bic", objectives.weighted_distillation, reads="replay", selects="herding", teacher="previous",
            correct=corrections.correct_bias, reserved=0.1,
        ),
        # Prabhu et al., ECCV 2020: a balanced memory, and a model trained on it alone, anew at each step. There it is
        # the whole network, with CutMix and warm restarts; here the part from `gdumb.cut` on, with neither.
        Method(
            "gdumb", objectives.cross_entropy, reads="exemplars", selects="random", fills="before",
            starts_from="scratch", settings="gdumb",
        ),
        # Caccia et al., arXiv 2104.05025.
        Method("er_ace", objectives.asymmetric_cross_entropy, reads="replay", selects="reservoir", fills="before"),
        # Ours: a base model that contrasts classes on mixed images, replay into the whole network, and discriminants of
        # the exemplars, which follow features that move. What chose its parts is in docs/method.md.
        Method(
            "contrastive_replay", objectives.cross_entropy, reads="replay", selects="herding", settings="deep",
            classifiers=("exemplar_discriminant", "network", "exemplar_mean"), base="contrastive_mixup", mirrored=True,
            validates="none", falls=True,
        ),
        # Its upper bound: all images, the same base model and its objective, and the same answers.
        Method(
            "joint_contrastive", objectives.OBJECTIVES["contrastive_mixup"], reads="all", starts_from="base",
            settings="joint", classifiers=("exemplar_discriminant", "network", "exemplar_ridge"),
            base="contrastive_mixup", mirrored=True, validates="none", falls=True,
        ),
        # No training: the nearest class mean (Mensink et al., PAMI 2013, without its metric), and streaming linear
        # discriminant analysis (Hayes and Kanan, arXiv 1909.01520), of the base model's features.
        Method("ncm", None, reads="new", classifiers=("class_mean",)),
        Method("slda", None, reads="new", classifiers=("streaming_discriminant",)),
        # Of the same features: ridge regression on random ones (McDonnell et al., arXiv 2307.02251, phase 2; Zhuang et
        # al., arXiv 2205.14922), a kernel's linear discriminants (Momeni et al., arXiv 2412.15571), and a covariance of
        # each class (Goswami et al., arXiv 2309.14062).
        Method("ranpac", None, reads="new", classifiers=("ridge",)),
        Method("klda", None, reads="new", classifiers=("klda",)),
        Method("fecam", None, reads="new", classifiers=("fecam",)),
        # Lower bound: no image of a compound class, only the base model's probabilities of its parts.
        Method("composition", None, reads="new", classifiers=("composition",)),
    )
}  # fmt: skip
# What their papers, of streams that are seen once, do: a batch of memory beside each batch of new images. Above they
# read the union of both, as iCaRL, WA and BiC do: where classes come one at a time it is the stronger way.
METHODS |= {
    f"{name}_paired": dataclasses.replace(METHODS[name], name=f"{name}_paired", reads="paired")
    for name in ("er", "derpp", "er_ace")
}
# No training: action units, which a detector has read from the images, and the base model's features with units beside
# them. Linear discriminants, Gaussian mixtures of each class, naive Bayes, and ridge regression on random features.
# After arXiv 2510.13534, which learns from units alone, and 2512.12277, from Gaussian mixtures of features and units.
METHODS |= {
    f"{prefix}_{name}": Method(f"{prefix}_{name}", None, reads="new", classifiers=(f"{prefix}_{classifier}",))
    for prefix in ("units", "features_units")
    for name, classifier in (
        ("lda", "discriminant"), ("mixture", "mixture"), ("naive_bayes", "naive_bayes"), ("ridge", "ridge"),
    )
}  # fmt: skip
