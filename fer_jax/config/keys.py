"""The keys of every config: what each may be, its default, and what it means.

Data sets and backbones declare their own keys next to themselves (`DataSet.keys`, `Family.keys`).
"""

from fer_jax import methods, objectives, protocol, replay
from fer_jax.config import names
from fer_jax.config.rules import (
    BOOL,
    CUT,
    NAME,
    PAIRS,
    POSITIVE,
    RATE,
    TEXT,
    Rule,
    number,
    one_of,
    optional,
    several,
    whole,
)

# What some of them may be; the parts of the package that act on them lie above this folder and import these.
RESIDENCIES = ("auto", "device", "host")
PRECISIONS = ("auto", "float32", "bfloat16")
# The means and deviations of the channels of images in [0, 1] that an input range stands for.
INPUT_STATISTICS = {
    "zero_one": ((0.0,) * 3, (1.0,) * 3),
    "minus_one_one": ((0.5,) * 3, (0.5,) * 3),
    "around_127": ((127 / 255,) * 3, (128 / 255,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
INPUT_RANGES = tuple(INPUT_STATISTICS)

RULES: dict[str, Rule] = {
    "seed": whole(0).means("Seed of every random choice: weights, batches, augmentation, memory."),
    "data.name": Rule((str,), bool, names.DATA_SET_WORDS).means("The data set."),
    "data.dir": TEXT.means(
        "Folder of prepared data; empty means $TFDS_DATA_DIR, or tensorflow_datasets in the home folder."
    ),
    "data.image_size": whole(8, 1024).means("Height and width of the images, in pixels."),
    "data.exclude": several(TEXT, 0).means("Names of classes to leave out."),
    "data.n_base": whole(2).means("Number of classes of the base task; the others are learned later."),
    "data.residency": one_of(*RESIDENCIES).means(
        "Where the images are kept: on the device, or on the host and streamed; auto decides by their size."
    ),
    "data.near_duplicates": optional(one_of("keep", "exclude"), "keep").means(
        "Whether images that nearly repeat an image of another split stay or are left out."
    ),
    "data.near_duplicates_in": optional(one_of("picture", "face"), "picture").means(
        "What is compared for that: pictures as training reads them, or the faces that are found in them."
    ),
    "data.units.path": optional(TEXT, "").means("Table of a detector's action units; empty reads none."),
    "data.units.minimum_confidence": optional(number(0, 1), 0.5).means(
        "Least confidence of the detector with which a row of the table is read."
    ),
    "data.units.kind": optional(one_of("intensity", "presence"), "intensity").means(
        "What is read of each action unit: its intensity or its presence."
    ),
    "data.units.flips": optional(number(0, 0.5), 0.0).means(
        "Probability that a unit's presence is inverted, to imitate a detector's errors."
    ),
    "data.units.noise": optional(number(0, 1), 0.0).means(
        "Standard deviation of noise added to intensities, to imitate a detector's errors."
    ),
    "data.units.input": optional(BOOL, False).means("Whether the network sees the action units instead of the images."),
    "devices.spread_by": optional(one_of("pmap", "shard_map"), "pmap").means(
        "How a batch is spread over several devices."
    ),
    "devices.convolutions": optional(one_of("auto", "library", "product"), "auto").means(
        "How increments compute convolutions: by the library, or as matrix products; auto measures on an accelerator."
    ),
    "devices.side_by_side": optional(one_of("auto", "one_by_one", "threads", "vmap"), "auto").means(
        "How several class orders train at the same time; auto measures on an accelerator."
    ),
    "protocol.name": one_of(*protocol.PROTOCOLS).means(
        "How subjects are split into training, validation and test; docs/architecture.md compares the protocols."
    ),
    "protocol.n_folds": whole(2).means("Number of folds that the subjects are divided into."),
    "protocol.folds": several(whole(0)).means("Folds to run, by number; the subjects of a fold are the test subjects."),
    "protocol.n_orders": whole(1, 10_000).means("Number of random orders in which new classes are learned."),
    "protocol.orders": several(whole(0), 0).means("Class orders to run, by number; an empty tuple runs all of them."),
    "protocol.order_seed": whole(0).means("Seed that the class orders are drawn from."),
    "protocol.classes_per_increment": whole(1).means("Number of new classes that an increment learns."),
    "model.name": Rule((str,), bool, names.BACKBONE_WORDS).means("The backbone."),
    "model.hidden": several(whole(1), 0).means("Widths of the hidden layers of the head."),
    "model.dropout": number(0, 0.99).means("Share of the head's units dropped in training."),
    "model.weights": Rule((str,), bool, "none, pretrained or the path of a file of weights").means(
        "Pretrained weights of the backbone; none starts from random weights."
    ),
    "model.input_range": one_of("auto", *INPUT_RANGES).means(
        "Range that pixels are scaled to; auto takes what the pretrained weights expect."
    ),
    "model.precision": one_of(*PRECISIONS).means(
        "Number format of the network's arithmetic; auto is bfloat16 on accelerators, float32 on the CPU."
    ),
    "augment.flip": number(0, 1).means("Probability that an image is mirrored."),
    "augment.rotation": number(0, 0.5).means("Largest rotation, as a share of a full turn."),
    "augment.zoom": number(0, 0.9).means("Largest change of height and width, as a share of them."),
    "augment.translation": number(0, 1).means("Largest shift, as a share of height and width."),
    "augment.occlusion": optional(number(0, 1), 0.0).means(
        "Largest side of a covered rectangle, as a share of the image's side; 0 covers nothing."
    ),
    "augment.resolution": optional(number(0, 1), 0.0).means(
        "Probability that an image is shown at a lower resolution."
    ),
    "augment.function": optional(Rule((str,), bool, "auto, or the dotted path of an augmentation"), "auto").means(
        "A user's own augmentation; auto applies the other keys of this section."
    ),
    "basic.objective": optional(NAME, "cross_entropy").means("What the base task minimises."),
    "basic.terms": optional(PAIRS, ()).means(
        "Loss terms with weights that replace those of basic.objective; an empty tuple leaves those."
    ),
    "basic.pretraining.objective": optional(NAME, "unlabelled_contrastive").means(
        "What an optional stage without labels minimises before the base task."
    ),
    "basic.pretraining.cut": optional(CUT, "input").means(
        "First block that this stage trains; the blocks before it are frozen."
    ),
    "basic.pretraining.learning_rate": optional(RATE, 1e-3).means("Learning rate of this stage."),
    "basic.pretraining.max_epochs": optional(whole(0), 0).means("Epochs of this stage; 0 leaves it out."),
    "basic.balance": optional(one_of(*objectives.BALANCES), "none").means(
        "How the base task makes up for classes of unequal size: class weights, a sampler or nothing."
    ),
    "basic.batch_size": whole(1).means("Images in a batch of the base task."),
    "basic.l2": number(0, 1).means("Weight decay of the head in the base task."),
    "basic.patience": whole(1).means("Epochs without improvement after which a stage of the base task stops."),
    "basic.min_delta": number(0, 1).means("Least change of the validation loss that counts as an improvement."),
    "basic.head.cut": CUT.means(
        "First block that the first stage of the base task trains; the blocks before it are frozen."
    ),
    "basic.head.learning_rate": RATE.means("Learning rate of the first stage."),
    "basic.head.max_epochs": whole(0).means("Most epochs of the first stage; 0 leaves it out."),
    "basic.body.cut": CUT.means(
        "First block that the second stage of the base task trains; the blocks before it are frozen."
    ),
    "basic.body.learning_rate": RATE.means("Learning rate of the second stage."),
    "basic.body.max_epochs": whole(0).means("Most epochs of the second stage; 0 leaves it out."),
    "memory.mode": one_of("grow", "limit").means(
        "How the exemplar memory grows: grow stores the same number of every class, limit shares a fixed total."
    ),
    "memory.share": RATE.means("Size of the exemplar memory, as a share of the training images."),
    "memory.rule": Rule((str,), bool, f"auto, one of {', '.join(replay.RULES)}, or a dotted path").means(
        "How exemplars are selected; auto takes the method's own rule."
    ),
    "continual.cut": CUT.means("First block that increments train; the blocks before it are frozen."),
    "continual.batch_size": whole(2).means("Images in a batch of an increment."),
    "continual.learning_rate": RATE.means("Learning rate of increments."),
    "continual.max_epochs": whole(1).means("Most epochs of an increment."),
    "continual.patience": whole(1).means("Epochs without improvement after which an increment stops."),
    "continual.gamma": number(0, 1).means("How fast the weight of distillation grows with each increment."),
    "continual.temperature": POSITIVE.means("Temperature of distillation."),
    "continual.distill_over": one_of("auto", "teacher", "known").means(
        "Classes that distillation compares: those of the teacher or all known ones; auto follows the protocol."
    ),
    "continual.teacher": one_of("auto", "base", "previous").means(
        "Model that distillation follows: the base model or the previous one; auto takes the method's own choice."
    ),
    "continual.loss": Rule((str,), bool, "auto, or the dotted path of a loss, a term or an objective").means(
        "A user's own loss in increments; auto takes the method's objective."
    ),
    "continual.terms": optional(PAIRS, ()).means(
        "Loss terms with weights that replace those of the objective in increments; an empty tuple leaves those."
    ),
    "continual.balance": optional(one_of(*objectives.BALANCES), "none").means(
        "How increments make up for classes of unequal size: class weights, a sampler or nothing."
    ),
    "continual.classifiers": optional(several(NAME, 0), ()).means(
        "Classifiers reported beside the method's own; an empty tuple adds none."
    ),
    "continual.correction": optional(NAME, "auto").means(
        "Correction of the head after an increment; auto takes the method's own, none corrects nothing."
    ),
    "continual.augment": BOOL.means("Whether increments augment images."),
    "continual.side_by_side": whole(1).means("Number of class orders that train at the same time."),
    "methods": several(Rule((str,), bool, f"one of {', '.join(methods.METHODS)}, or a dotted path")).means(
        "Methods to run, in this order."
    ),
    "search.learning_rates": several(RATE, 0).means(
        "Learning rates to choose from on validation subjects; empty uses the configured one."
    ),
    "search.strengths": several(POSITIVE, 0).means(
        "Factors on the weight of a method's own loss term to choose from; an empty tuple leaves the weight as it is."
    ),
    "search.increments": whole(1).means("Number of first increments that the search trains."),
    "feature_cache.views": whole(0).means(
        "Augmented views of each image whose trunk output is stored; 0 runs the trunk in every step."
    ),
    "feature_cache.max_gb": POSITIVE.means("Most memory for the stored trunk outputs, in GB."),
    "joint.steps": one_of("every", "last").means("Steps at which the joint model is trained: every one or the last."),
    "joint.cut": CUT.means("First block that the joint model trains; the blocks before it are frozen."),
    "joint.learning_rate": RATE.means("Learning rate of the joint model."),
    "joint.max_epochs": whole(1).means("Most epochs of the joint model."),
    "gdumb.cut": CUT.means("First block that GDumb trains; the blocks before it are frozen."),
    "gdumb.learning_rate": RATE.means("Learning rate of GDumb."),
    "gdumb.max_epochs": whole(1).means("Most epochs of GDumb."),
    "deep.cut": optional(CUT, "input").means(
        "First block trained by methods that train the whole network in increments, such as contrastive_replay."
    ),
    "deep.batch_size": optional(whole(2), 32).means("Images in a batch of these methods."),
    "deep.learning_rate": optional(RATE, 5e-4).means("Learning rate of these methods."),
    "deep.max_epochs": optional(whole(1), 4).means("Most epochs of an increment of these methods."),
    "few_shot.shots": several(whole(0), 0).means(
        "Numbers of images from which a new class is learned; 0 is all of them, an empty tuple skips the phase."
    ),
    "few_shot.draws": whole(1).means("Number of random draws of the shots."),
    "few_shot.batch_size": whole(1).means("Images in a batch of the few-shot phase."),
    "few_shot.learning_rate": RATE.means("Learning rate of the few-shot phase."),
    "few_shot.max_epochs": whole(1).means("Most epochs of a fit in the few-shot phase."),
    "few_shot.patience": whole(1).means("Epochs without improvement after which a few-shot fit stops."),
    "few_shot.replay": one_of("auto", "memory", "none").means(
        "Whether exemplars of the base classes are trained on too; auto follows the protocol."
    ),
    "few_shot.exemplars": whole(0).means(
        "Exemplars of each base class in the few-shot phase; 0 takes as many as the continual phase."
    ),
    "few_shot.objective": optional(NAME, "distilled_cross_entropy").means("What the few-shot phase minimises."),
    "few_shot.terms": optional(PAIRS, ()).means(
        "Loss terms with weights that replace those of few_shot.objective; an empty tuple leaves those."
    ),
    "few_shot.base": optional(NAME, "auto").means(
        "Objective of the base model that the few-shot phase starts from; auto is basic.objective."
    ),
    "few_shot.answers": optional(several(NAME), ("network",)).means(
        "What answers in the few-shot phase: the trained network, or classifiers that learn without training."
    ),
    "few_shot.taken": optional(number(0, 1), 0.15).means(
        "Share of the base classes' validation images that a classifier's new class may take."
    ),
    "few_shot.selection": optional(one_of("auto", "none", "seen", "new"), "auto").means(
        "Validation images that choose the epoch: none runs all epochs, seen uses all known classes, new the new one."
    ),
}
