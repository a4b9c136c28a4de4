"""Do synthesised faces of an expression help to learn it from a few pictures?

Command: python -m studies.related.comp_gan --out docs/results/related/comp_gan.json     (make related)
Result:  docs/results/related/comp_gan.json
Time:    ten minutes on two cores

Paper: Wang et al., Learning to Augment Expressions for Few-shot Fine-grained Facial Expression Recognition,
arXiv 2001.06144. Read: the abstract alone. Faces with changed expressions and retained people help few-shot learning.

Our choice: pictures show the inner face. A network learns basic expressions and neutral, with 16 sigmoids below its
answers, the code e. G(x, e') learns from the same pictures to change x to another one's code, by a share and a colour
for each pixel: L_adv + L_cls + L_id + λ |G(G(x, e'), e) - x|. A critic tells code, person, and by a hinge real pictures
with their codes from made ones and wrong codes; its slope costs, against specks. Then each of 15 compound expressions
has k pictures, of k people; e' is their mean code, by which 20 people of the base task are synthesised from neutral
faces. A linear layer on the network's frozen features learns from these, and as often from the k.

Measurement: accuracy on compound expressions of unseen people from 1, 3 and all pictures, the mean over draws of them.
Controls: as many pictures by plain augmentation or other codes are worth less, rendered ones more; from all none gain.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import rng
from fer_jax.augment import Augmentation
from fer_jax.models.layers import conv
from fer_jax.models.network import Params
from fer_jax.training.batch import Batch
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, BASIC, NEUTRAL, Examples

BASE, NEW = (*BASIC, NEUTRAL), ALL[len(BASIC) :]
ALONE, PLAIN, MADE, WRONG, RENDERED = "shots alone", "augmented", "synthesised", "codes of other classes", "rendered"
ARMS, SUPPORT, UNSEEN = (ALONE, PLAIN, MADE, WRONG, RENDERED), 1000, 2000  # numbers of the first people
CODE, PERSON, SLOPE = 10.0, 0.2, 0.1  # weights of L_cls, of L_id and of the critic's slope


class Generator(nn.Module):
    """Changes images f32[B, H, W, 3] in [0, 1] to a code f32[B, K]."""

    width: int

    @nn.compact
    def __call__(self, images: jax.Array, code: jax.Array) -> jax.Array:
        y = nn.relu(conv("first", self.width, 5, 2, use_bias=True)(2 * images - 1))
        for number in range(3):
            factor, shift = jnp.split(nn.Dense(2 * self.width, name=f"code{number}")(code)[:, None, None], 2, -1)
            z = conv(f"block{number}_1", self.width, 3, use_bias=True)(y) * (1 + factor) + shift
            y = y + conv(f"block{number}_2", self.width, 3, use_bias=True)(nn.relu(z))
        y = jnp.concatenate([y.repeat(2, 1).repeat(2, 2), images], -1)
        share, colour = jnp.split(nn.sigmoid(conv("last", 4, 5, use_bias=True)(y)), [1], -1)
        return (1 - share) * images + share * colour


class Critic(nn.Module):
    """Tells of images and codes whether they are real f32[B, h, w, 1], their codes f32[B, K], and people f32[B, P]."""

    width: int
    code: int
    people: int

    @nn.compact
    def __call__(self, images: jax.Array, code: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        y = 2 * images - 1
        for number, kernel in ((1, 5), (2, 3), (3, 3)):
            y = nn.leaky_relu(conv(f"down{number}", number * self.width, kernel, 2, use_bias=True)(y), 0.2)
        real, y = conv("real", 1, 3, use_bias=True)(y), y.reshape(len(y), -1)
        fits = (nn.Dense(self.code, name="fits")(y) * (2 * code - 1)).sum(-1)[:, None, None, None]
        return real + fits, nn.Dense(self.code, name="code")(y), nn.Dense(self.people, name="person")(y)


@functools.cache
def players(generator: Generator, critic: Critic):
    """Returns critic and generator as players, the same functions for the same networks."""

    def changed(params, batch, key):  # the batch with codes of others, and these
        wanted = jax.random.permutation(key, batch.targets["code"])
        return generator.apply({"params": params["generator"]}, batch.images, wanted), wanted

    def told(seen, code, people):  # L_cls and L_id, weighted
        who = optax.softmax_cross_entropy_with_integer_labels(seen[2], people)
        return CODE * jnp.mean((seen[1] - code) ** 2) + PERSON * who.mean()

    def of_critic(params, batch, key, weight):
        (made, wanted), own = changed(params, batch, key), batch.targets["code"]
        see = functools.partial(critic.apply, {"params": params["critic"]})
        real, fake, other = see(batch.images, own), see(made, wanted), see(batch.images, wanted)
        apart = nn.relu(1 - real[0]) + (nn.relu(1 + fake[0]) + nn.relu(1 + other[0])) / 2
        slope = jax.grad(lambda images: see(images, own)[0].mean((1, 2, 3)).sum())(batch.images)
        return apart.mean() + told(real, own, batch.subjects) + SLOPE * (slope**2).sum((1, 2, 3)).mean()

    def of_generator(params, batch, key, weight):
        made, wanted = changed(params, batch, key)
        seen = critic.apply({"params": params["critic"]}, made, wanted)
        back = generator.apply({"params": params["generator"]}, made, batch.targets["code"])
        return told(seen, wanted, batch.subjects) - seen[0].mean() + weight * jnp.abs(back - batch.images).mean()

    return ("critic", of_critic), ("generator", of_generator)


def codes(params: Params, features: np.ndarray) -> np.ndarray:
    """Returns the codes of features f32[N, D], f32[N, K]."""
    layer = params["head"]["hidden0"]
    return np.asarray(jax.nn.sigmoid(features @ layer["kernel"] + layer["bias"]))


def drawn(work: Work, first: int, people: int, classes: tuple[int, ...], pictures: int = 1) -> Examples:
    """Returns pictures of people in classes, by person."""
    which = learning.cells(range(first, first + people), classes, pictures)
    examples = learning.faces(which, learning.sampled(work.seed, which), work.settings.size * 3 // 2)
    return examples._replace(pictures=learning.cropped(examples.pictures))


def trained(work: Work) -> tuple[Callable[[np.ndarray], np.ndarray], Params, Callable[..., np.ndarray]]:
    """Returns features of pictures, the network's parameters, and what synthesises (pictures, codes f32[C, K])."""
    s, base = work.settings, drawn(work, 0, work.settings.people, BASE, work.settings.pictures)
    net, every = learning.network(s.widths, base.n_classes, hidden=(s.code,)), np.arange(len(base.pictures))
    start = learning.starting(work, net, base.pictures)
    params = learning.train(work, "network", learning.recipe(net), base, every, start, s.epochs)
    encode = functools.partial(learning.encoded, params, net)
    generator, critic = Generator(s.channels), Critic(s.channels, s.code, s.people)
    key, *given = rng.derive(work.seed, "players"), jnp.zeros((1, s.size, s.size, 3)), jnp.zeros((1, s.code))
    fresh = {name: one.init(key, *given)["params"] for name, one in (("generator", generator), ("critic", critic))}
    facts = base.facts._replace(targets={"code": jnp.asarray(codes(params, encode(base.pictures)))})
    ended = learning.play(work, "game", players(generator, critic), fresh, base._replace(facts=facts), every, s.cycle)

    def synthesise(pictures, wanted):  # all pictures with each of the codes, u8[C N, H, W, 3]
        given = jnp.tile(jnp.asarray(pictures) / 255.0, (len(wanted), 1, 1, 1)), wanted.repeat(len(pictures), 0)
        return np.asarray(jnp.round(255 * jax.jit(generator.apply)({"params": ended["generator"]}, *given)), np.uint8)

    return encode, params, synthesise


def measure(work: Work) -> dict[str, float]:
    """Returns the accuracy of every arm from every number of shots."""
    s, (encode, params, synthesise), row = work.settings, trained(work), {}
    sets = drawn(work, SUPPORT, s.support, NEW), drawn(work, UNSEEN, s.unseen, NEW), drawn(work, 0, s.sources, NEW)
    (shots, unseen, shown), labels = (encode(one.pictures) for one in sets), np.asarray(sets[0].facts.labels)
    neutral, by_class = drawn(work, 0, s.sources, (NEUTRAL,)).pictures, np.repeat(NEW, s.sources)
    for k, draws in (*((k, s.draws) for k in s.shots), (s.support, 1)):
        values: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for number in range(draws):
            rows = np.arange(len(shots)).reshape(s.support, -1)[(number * k + np.arange(k)) % s.support].ravel()
            wanted, copies = codes(params, shots[rows]).reshape(k, len(NEW), -1).mean(0), np.resize(rows, len(by_class))
            copied = Augmentation()(jax.random.key(number), jnp.asarray(sets[0].pictures[copies]) / 255.0)
            added = {
                ALONE: (shots[copies], labels[copies]),
                PLAIN: (encode(np.round(255 * np.asarray(copied)).astype(np.uint8)), labels[copies]),
                MADE: (encode(synthesise(neutral, wanted)), by_class),
                WRONG: (encode(synthesise(neutral, np.roll(wanted, 1, 0))), by_class),
                RENDERED: (shown, sets[2].facts.labels),
            }
            for arm, (features, names) in added.items():
                mine = np.resize(rows, max(len(rows), len(names)))  # half of what is learned from
                known = jnp.asarray(np.concatenate([labels[mine], names, sets[1].facts.labels]))
                given = Examples(np.concatenate([shots[mine], features, unseen]), Batch(known), sets[0].n_classes)
                parts = np.split(np.arange(len(known)), [-len(unseen)])
                values[arm].append(learning.probed(work, f"{arm}, {k}, {number}", given, *parts, s.fit))
        row |= {f"{arm}: {'all' if k == s.support else k}": float(np.mean(one)) for arm, one in values.items()}
    return row


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns neutral faces, what the generator makes of them, and what the renderer does."""
    (encode, params, synthesise), rows = trained(work), []
    support, people = drawn(work, SUPPORT, work.settings.support, NEW), drawn(work, 0, 6, (NEUTRAL,))
    wanted = codes(params, encode(support.pictures)).reshape(work.settings.support, len(NEW), -1).mean(0)
    for c in (0, 7, 10):
        rows += synthesise(people.pictures, wanted[[c]]), drawn(work, 0, 6, (NEW[c],)).pictures
    return [people.pictures, *rows], "Neutral; happily, fearfully surprised, angrily disgusted: made above rendered."


def less(arm: str, than: str, k: str, **bound: float) -> Statement:
    """Returns a statement of how much better an arm is than another one from k shots."""
    return Statement(f"{k} a class: {arm} less {than}", lambda row: row[f"{arm}: {k}"] - row[f"{than}: {k}"], **bound)


STUDY = Study(
    "comp_gan", "Comp-GAN's synthesised shots", "2001.06144",
    "synthesised faces help to learn an expression from one picture or few", measure,
    claims=tuple(less(MADE, ALONE, shots, above=0.0) for shots in ("1", "3")), picture=picture,
    controls=(*(less(MADE, than, shots, above=0.0) for shots in ("1", "3") for than in (PLAIN, WRONG)),
              *(less(RENDERED, MADE, shots, above=0.0) for shots in ("1", "3")), less(MADE, ALONE, "all", below=0.02)),
    shown={f"{arm}: {shots}": f"{arm}, {shots} a class" for shots in ("1", "3", "all") for arm in ARMS},
    options={"people": 80, "pictures": 3, "support": 20, "sources": 20, "unseen": 40, "shots": (1, 3), "draws": 3,
             "size": 32, "widths": (16, 32, 48, 64), "code": 16, "epochs": 24, "channels": 32, "play": 14, "batch": 16,
             "rate": 5e-4, "cycle": 5.0, "fit": 30},
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
