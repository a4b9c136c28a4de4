"""Does contrastive pretraining find expressions without labels, if its pairs show one expression in two people?

Command: python -m studies.related.contrastive --out docs/results/related/contrastive.json     (make related)
Result:  docs/results/related/contrastive.json
Time:    seven minutes on two cores

Paper: Shu, Gu, Yang and Lo, Revisiting Self-Supervised Contrastive Learning for Facial Expression Recognition,
arXiv 2210.03853. Read: the abstract and the authors' code (ClaudiaShu/SSL-FER). SimCLR's two views of one picture do
not tell expressions from other things. They pair a picture with one of a moment later (TimeAug), take other moments of
a person for hard negatives (HardNeg), and swap faces (FaceSwap, with probability .8). From VoxCeleb1 to AffectNet:
SimCLR 57.7, TimeAug 57.9, HardNeg 58.3, FaceSwap 58.9, all 59.3.

Our choice: a moment later has the same units, a little stronger or weaker, in other circumstances. A swapped face has
the same units in another person, exactly. A hard negative is another category of the person; all of a person's together
weigh as much as all others'. Theirs masks negatives that look alike at eyes and mouth; ours masks none, since a
person's pictures are of different categories. Each part is added to SimCLR alone, and all together. As there:
temperature .07, cosine, a projector of two layers to 128. Not as there: Adam at 1e-3 without weight decay, batches of
32, and where negatives are hard a person's pictures in pairs. A picture shows the inner face; partners are drawn once.

Measurement: the accuracy of a linear layer on the frozen features: of 21 categories on unseen people, and of who of the
unseen people it is, learned from half of their pictures. Controls: a swap that draws the units anew loses the gain, and
pretraining beats the network untrained.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import losses
from fer_jax.augment import Augmentation
from fer_jax.data.facs_faces.sampling import Picture
from fer_jax.objectives import Objective, Term
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, Examples

SIMCLR, LATER, HARD, SWAPPED, EVERY = "SimCLR", "a moment later", "hard negatives", "swapped faces", "all three"
REDRAWN, UNTRAINED = "swapped with other units", "untrained"
ARMS = (SIMCLR, LATER, HARD, SWAPPED, EVERY, REDRAWN)
TEMPERATURE, SWAPS, JITTER = 0.07, 0.8, 0.2
CROPS = Augmentation(0.5, 0.02, 0.1, 0.1)
COLOURS, MOMENT, OTHERS = 2**29, 1000, 10_000  # of keys, pictures and people that nothing else has


def contrast(outputs, context):
    """Returns the contrastive loss whose one positive is the other view, f32[R]."""
    return losses.supervised_contrastive(outputs.heads["projection"], outputs.examples, None, TEMPERATURE)


def hard_contrast(outputs, context):
    """Returns the same loss with the person's other pictures as hard negatives, f32[R]."""
    return losses.supervised_contrastive(outputs.heads["projection"], outputs.examples, outputs.subjects, TEMPERATURE)


def view(key: jax.Array, images: jax.Array, positions: jax.Array) -> jax.Array:
    """Augments as SimCLR does: moves and scales images f32[B, H, W, 3], and changes contrast, colour and brightness."""
    images = CROPS(key, images, positions)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, COLOURS), positions)
    drawn = jax.vmap(lambda one: jax.random.uniform(one, (1, 1, 5), minval=-1, maxval=1))(keys)
    gain = 1 + 0.3 * drawn[..., :1] + 0.1 * drawn[..., 2:]
    return jnp.clip((images - 0.5) * gain + 0.5 + 0.2 * drawn[..., 1:2], 0, 1)


def objective(arm: str) -> Objective:
    """Returns what an arm minimises; the partners are in a target."""
    hard = arm in (HARD, EVERY)
    return Objective(
        {"contrast": Term(hard_contrast if hard else contrast, whole_batch=True)},
        views=2, heads={"projection": (128, 128)}, augmentation=view,
        batches="subject_pairs" if hard else "shuffled",
        twins=("", 0.0) if arm in (SIMCLR, HARD) else ("partner", 1.0),
    )  # fmt: skip


def others(seed: int, which: np.ndarray, shown: Picture) -> dict[str, Picture]:
    """Returns what is rendered beside pictures of cells i32[N, 3], by arm."""
    generator = np.random.default_rng(seed)
    around = learning.sampled(seed, which + np.asarray([0, 0, MOMENT])).nuisance
    strangers = np.stack([OTHERS + np.arange(len(which)), which[:, 1], which[:, 2]], 1)
    identity = learning.sampled(seed, strangers).identity
    factor = generator.uniform(1 - JITTER, 1 + JITTER, (len(which), 1))
    units = np.clip(shown.action_units * factor, 0, 1).astype(np.float32)
    return {
        LATER: Picture(shown.identity, units, around),
        SWAPPED: Picture(identity, units, around),
        REDRAWN: Picture(identity, generator.permutation(units), around),
    }


def partners(seed: int, plain: np.ndarray, made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the pictures u8[N, H, W, 3] that second views show, by arm; a share SWAPS of them are swapped."""
    swap = (np.random.default_rng([seed, 1]).uniform(size=len(plain)) < SWAPS)[:, None, None, None]
    return {
        LATER: made[LATER],
        SWAPPED: np.where(swap, made[SWAPPED], plain),
        EVERY: np.where(swap, made[SWAPPED], made[LATER]),
        REDRAWN: np.where(swap, made[REDRAWN], plain),
    }


def population(work: Work) -> tuple[Examples, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Returns pictures, which of them train and test, and those of second views by arm; of files there are none."""
    s = work.settings
    if s.config:
        examples, train, test = learning.of_files(work)
        return examples._replace(pictures=learning.cropped(examples.pictures)), train, test, {}
    which = learning.cells(range(s.people), ALL)
    shown = learning.sampled(work.seed, which)
    examples = learning.faces(which, shown, s.size)
    examples = examples._replace(pictures=learning.cropped(examples.pictures))
    made = {
        arm: learning.cropped(learning.rendered(one, s.size)) for arm, one in others(work.seed, which, shown).items()
    }
    return examples, *learning.apart(which), partners(work.seed, examples.pictures, made)


def measure(work: Work) -> dict[str, float]:
    """Returns what linear layers find in the features of every arm."""
    s, row = work.settings, {}
    examples, train, test, second = population(work)
    net = learning.network(s.widths, examples.n_classes)
    start = learning.starting(work, net, examples.pictures[train])
    row |= found(work, UNTRAINED, examples._replace(pictures=learning.encoded(start, net, examples.pictures)),
                 train, test)  # fmt: skip
    for arm in ARMS:
        by = learning.recipe(net, objective(arm), batch_size=s.batch)
        if arm not in second and "partner" in by.objective.targets:
            continue
        told = examples.facts._replace(targets={"partner": jnp.asarray(second.get(arm, 0))})
        params = learning.train(work, arm, by, examples._replace(facts=told), train, start, s.epochs)
        features = learning.encoded(params, net, examples.pictures)
        row |= found(work, arm, examples._replace(pictures=features), train, test)
    return row


def found(work: Work, arm: str, features: Examples, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Returns what linear layers find in features: expressions of unseen people, and who of them it is."""
    people, numbers = np.unique(np.asarray(features.facts.subjects)[test], return_inverse=True)
    unseen = features.part(test)
    who = unseen._replace(facts=unseen.facts._replace(labels=jnp.asarray(numbers)), n_classes=len(people))
    every, fit = np.arange(len(test)), work.settings.fit
    return {
        f"{arm}: expressions": learning.probed(work, f"expressions, {arm}", features, train, test, fit),
        f"{arm}: people": learning.probed(work, f"people, {arm}", who, every[::2], every[1::2], fit),
    }


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns pictures above what each arm pairs them with."""
    which = np.asarray([[0, 0, 0], [1, 1, 0], [2, 4, 0], [3, 5, 0], [4, 2, 0], [5, 9, 0]])
    shown = learning.sampled(work.seed, which)
    every = (shown, *others(work.seed, which, shown).values())
    return [learning.rendered(one, 96) for one in every], (
        "Happy, sad, surprised, disgusted, fearful and sadly angry; a moment later; the same in other people; and "
        "other people with other units."
    )


def less(arm: str, than: str, what: str = "expressions", **bound: float) -> Statement:
    """Returns a statement of how much more is found after one pretraining than after another."""
    return Statement(f"{what}: {arm} less {than}", lambda row: row[f"{arm}: {what}"] - row[f"{than}: {what}"], **bound)


STUDY = Study(
    "contrastive", "Contrastive pretraining", "2210.03853",
    "later moments, hard negatives and swapped faces each help pretraining to find expressions", measure,
    claims=(
        *(less(arm, SIMCLR, above=0.0) for arm in (LATER, HARD, SWAPPED, EVERY)),
        less(SWAPPED, SIMCLR, "people", below=0.0),
    ),
    controls=(less(REDRAWN, SIMCLR, below=0.02), less(SWAPPED, REDRAWN, above=0.0), less(EVERY, UNTRAINED, above=0.0)),
    shown={f"{arm}: {what}": f"{what}, {arm}" for what in ("expressions", "people") for arm in (UNTRAINED, *ARMS)},
    options={"people": 105, "size": 48, "widths": (16, 32, 48, 64), "batch": 32, "epochs": 36, "fit": 30},
    picture=picture, takes_files=True,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
