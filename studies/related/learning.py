"""Pictures and training of the studies of related systems, by the package's own renderer, steps and fit."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import objectives, protocol, rng
from fer_jax.augment import Augmentation
from fer_jax.config.file import read_config
from fer_jax.data import residency
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.render import render
from fer_jax.data.facs_faces.sampling import Picture, sample_picture
from fer_jax.data.load import load
from fer_jax.models.backbone import Backbone, calibrate_batch_norm
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, Params, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.objectives import Context
from fer_jax.runs.progress import Bar
from fer_jax.training import devices, encoding
from fer_jax.training.batch import Batch, ordered, take
from fer_jax.training.fit import NEVER, Job, Run, fit
from fer_jax.training.optimizer import keras_adam
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe
from studies.related.common import Work

ALL = tuple(range(categories.N_BASIC + categories.N_COMPOUND))
BASIC, NEUTRAL = ALL[: categories.N_BASIC], len(ALL)
AT_ONCE, CALIBRATION, FOLDS = 64, 256, 5
MOMENTUM = 0.5  # of players' first moments, less than usual since their losses change with every step
LEAST = 320  # examples that an epoch of a probe reads; fewer are repeated
DROPPED, ADDED = 0.4, 0.1  # how often habits drop a core unit, and add one that nobody shows


class Examples(NamedTuple):
    """N pictures u8[N, H, W, 3], or features f32[N, D] in their place; what is known of each; how many classes."""

    pictures: np.ndarray
    facts: Batch
    n_classes: int

    @property
    def mask(self) -> jax.Array:
        """The classes that occur, bool[C]."""
        return jnp.isin(jnp.arange(self.n_classes), self.facts.labels)

    def part(self, rows: np.ndarray) -> "Examples":
        """Returns some of the examples; classes that do not occur among them are no answer then."""
        return self._replace(pictures=self.pictures[rows], facts=take(self.facts, jnp.asarray(rows)))


def cells(people: Sequence[int], classes: Sequence[int], pictures: int = 1) -> np.ndarray:
    """Returns all of these people in all of these categories, i32[N, 3]: subject, category, number of the picture."""
    grid = np.meshgrid(people, classes, np.arange(pictures), indexing="ij")
    return np.stack([one.ravel() for one in grid], 1).astype(np.int32)


def sampled(seed: int, which: np.ndarray) -> Picture:
    """Draws pictures of cells i32[N, 3]; each leaf has a row a picture, as NumPy arrays."""
    return jax.device_get(_sampled(seed, jnp.asarray(which)))


_sampled = jax.jit(jax.vmap(lambda seed, cell: sample_picture(seed, *cell), (None, 0)))
_rendered = jax.jit(
    lambda picture, size: jnp.round(jax.vmap(functools.partial(render, size=size))(*picture) * 255).astype(jnp.uint8),
    static_argnums=1,
)


def rendered(pictures: Picture, size: int) -> np.ndarray:
    """Renders pictures, u8[N, size, size, 3]; by XLA, so that other processors may round a value in 1e5 otherwise."""
    n = len(pictures.identity)
    every = [np.minimum(np.arange(at, at + AT_ONCE), n - 1) for at in range(0, n, AT_ONCE)]
    made = [np.asarray(_rendered(Picture(*(one[rows] for one in pictures)), size)) for rows in every]
    return np.concatenate(made)[:n]


def faces(which: np.ndarray, pictures: Picture, size: int) -> Examples:
    """Returns rendered pictures of cells; classes are the 22 categories, the target "action_units" is intensities."""
    facts = Batch(jnp.asarray(which[:, 1]), jnp.asarray(which[:, 0]), {"action_units": jnp.asarray(pictures[1])})
    return Examples(rendered(pictures, size), facts, len(categories.NAMES))


def with_habits(seed: int, which: np.ndarray, pictures: Picture) -> Picture:
    """Returns the pictures of cells i32[N, 3] as people show them who have habits of their own."""
    table, units = categories.presence_probability(), pictures.action_units.copy()
    for row, (subject, category, number) in enumerate(which):
        habit = np.random.default_rng([seed, subject, category]).uniform(size=units.shape[1])
        drawn = np.random.default_rng([seed, subject, category, 1 + number]).uniform(0.5, 1.0, units.shape[1])
        share = table[category]
        units[row] = np.where((share == 1) & (habit < DROPPED), 0, units[row])
        units[row] = np.where((share == 0) & (habit < ADDED), drawn, units[row])
    return pictures._replace(action_units=units.astype(np.float32))


def cropped(pictures: np.ndarray) -> np.ndarray:
    """Cuts out the inner face: two thirds of each side."""
    side = pictures.shape[1]
    edge = side // 6
    return np.ascontiguousarray(pictures[:, edge : side - edge, edge : side - edge])


@functools.cache
def files(config: str) -> FaceArrays:
    """Returns the data set of a config's `config.data`."""
    return load(read_config([f"--config={config}"]).data)


def of_files(work: Work) -> tuple[Examples, np.ndarray, np.ndarray]:
    """Returns a data set of files, and which of it train and test: a fold of its people, another one for each seed."""
    data = files(work.settings.config)
    split = protocol.split(
        data.subject, work.seed % FOLDS, FOLDS, "published", data.official_test, data.label, data.official_validation
    )
    facts = Batch(jnp.asarray(data.label), jnp.asarray(data.subject))
    return Examples(data.image, facts, len(data.class_names)), split.train, split.test


def apart(which: np.ndarray, share: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of cells i32[N, 3] that train and that test: the first people, one in `share`, test."""
    first = which[:, 0] - which[:, 0].min() < max(1, len(np.unique(which[:, 0])) // share)
    return np.flatnonzero(~first), np.flatnonzero(first)


def network(widths: Sequence[int], n_classes: int, hidden: tuple[int, ...] = (128,)) -> Network:
    """Returns the quickstart's network with these widths, and a head with these layers below the answer."""
    backbone = ResNetV2((1,) * len(widths), tuple(widths), stem_width=max(4, 3 * widths[0] // 2), stem_kernel=5)
    return Network(backbone, ExpressionHead(hidden, n_classes, dropout=0.0), "minus_one_one")


def recipe(of: Network, objective=objectives.cross_entropy, cut: str = "input", **changes) -> Recipe:
    """Returns what all studies train by: the quickstart's optimizer and augmentation."""
    usual = {"batch_size": 32, "learning_rate": 1e-3, "augmentation": Augmentation(0.5, 0.005, 0.02, 0.02)}
    return Recipe(of, cut, objective, **(usual | changes))


def starting(work: Work, of: Network, pictures: np.ndarray) -> Params:
    """Returns the seed's fresh parameters, with the batch statistics of some of its training pictures."""
    params = of.init(rng.derive(work.seed, "init"), pictures.shape[1])
    some = jnp.asarray(pictures[:: max(1, len(pictures) // CALIBRATION)]) / 255.0
    return params | {"backbone": calibrate_batch_norm(of.backbone, params["backbone"], of.scale_input(some))}


def train(
    work: Work, name: str, by: Recipe, examples: Examples, rows: np.ndarray, params: Params, epochs: int
) -> Params:
    """Trains on some examples, or reads what was trained by this name; the learning rate falls, nothing is chosen.

    Returns:
      {"backbone", "head"}, and "heads" if the objective has some.
    """

    def make() -> Params:
        state, frozen = by.init(jax.tree.map(jnp.asarray, params), rng.derive(work.seed, "heads"))
        given = examples.pictures
        cached = given.ndim == 2
        on_host = residency.stays_on_host("auto", given.nbytes)
        pictures = given if on_host and not cached else devices.placed(jnp.asarray(given[:, None] if cached else given))
        facts = examples.facts._replace(targets={one: examples.facts.targets[one] for one in by.objective.targets})
        context, pool = Context.of_base(examples.mask)._replace(frozen=frozen), jnp.asarray(rows)
        one = Run(
            state, Source(facts, pictures, cached=cached), context,
            lambda epoch: (pool, rng.derive(work.seed, "epoch", epoch)),
            lambda trainable: {"val_loss": 0.0, "val_accuracy": 0.0},
        )  # fmt: skip
        with Bar(f"seed {work.seed}, {name}: epochs", epochs, work.console) as bar:
            (found,) = fit(Job((one,), by, NEVER, epochs, falling=True), on_epoch=lambda *_: bar.advance(1))
        trained = found.state.trainable
        return merge(trained, frozen) | {key: trained[key] for key in ("heads",) if key in trained}

    return work.once(name, make)


def encoded(params: Params, of: Network, pictures: np.ndarray, cut: str = "head") -> np.ndarray:
    """Returns the network's tensors at a cut, of pictures u8[N, H, W, 3]; at "head" its features f32[N, D]."""
    params = {"backbone": params["backbone"], "head": params["head"]}
    return np.asarray(encoding.encode(params, pictures, np.arange(len(pictures)), of, cut))


def answers(params: Params, of: Network, pictures: np.ndarray, mask: jax.Array) -> np.ndarray:
    """Returns the class that the network names, of those in the mask, i[N]."""
    logits = encoding.head_logits(jax.tree.map(jnp.asarray, params), encoded(params, of, pictures), of)
    return np.asarray(jnp.where(mask, logits, -jnp.inf)).argmax(1)


def accuracy(params: Params, of: Network, examples: Examples, rows: np.ndarray) -> float:
    """Returns the share of these pictures that is named rightly, among the classes that occur."""
    named = answers(params, of, examples.pictures[rows], examples.mask)
    return float(np.mean(named == np.asarray(examples.facts.labels)[rows]))


class Given(Backbone):
    """Features that were computed before, as a backbone without a layer."""

    width: int
    cuts, input_range = ("input", "features"), "zero_one"
    feature_width = property(lambda self: self.width)

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        return x


def probe(
    work: Work,
    name: str,
    examples: Examples,
    rows: np.ndarray,
    epochs: int,
    objective=objectives.cross_entropy,
    hidden: tuple[int, ...] = (),
) -> np.ndarray:
    """Trains a linear layer, or several, on features f32[N, D], standardised; returns outputs for all, f32[N, C]."""
    x = examples.pictures
    x = ((x - x[rows].mean(0)) / (x[rows].std(0) + 1e-6)).astype(np.float32)
    of = Network(Given(width=x.shape[1]), ExpressionHead(hidden, examples.n_classes, dropout=0.0))
    head = of.head.init(rng.derive(work.seed, "probe"), jnp.zeros((1, x.shape[1])))["params"]
    by = recipe(of, objective, "head", augmentation=None, learning_rate=3e-3)
    trained = train(work, name, by, examples._replace(pictures=x), rows, {"backbone": {}, "head": head}, epochs)
    return np.asarray(of.head_logits(trained["head"], x))


def probed(work: Work, name: str, examples: Examples, train: np.ndarray, test: np.ndarray, epochs: int, **how) -> float:
    """Returns the share of features f32[N, D] in `test` that a probe trained on those in `train` names rightly."""
    scores = probe(work, name, examples, np.resize(train, max(LEAST, len(train))), epochs, **how)
    named = np.where(np.asarray(examples.part(train).mask), scores, -np.inf).argmax(1)
    return float(np.mean(named[test] == np.asarray(examples.facts.labels)[test]))


# (parameters by name, a batch with images f32[B, H, W, 3] in [0, 1], a key, a weight f32[]) to f32[].
PlayerLoss = Callable[[Params, Batch, jax.Array, jax.Array], jax.Array]


@functools.partial(jax.jit, static_argnames="players")
def _turns(params, states, batch: Batch, rate, weight, key, players: tuple[tuple[str, PlayerLoss], ...]):
    """Lets every player take a step by Adam, one after the other; returns parameters and states."""
    params, states = dict(params), dict(states)
    batch = batch._replace(images=batch.images.astype(jnp.float32) / 255)
    for number, (name, loss) in enumerate(players):

        def own(mine, name=name, loss=loss, number=number):
            return loss(params | {name: mine}, batch, jax.random.fold_in(key, number), weight)

        gradient = jax.grad(own)(params[name])
        updates, states[name] = keras_adam(rate, MOMENTUM).update(gradient, states[name])
        params[name] = optax.apply_updates(params[name], updates)
    return params, states


def play(
    work: Work, name: str, players: tuple[tuple[str, PlayerLoss], ...], params: Params, examples: Examples,
    rows: np.ndarray, weight: float = 1.0,
) -> Params:  # fmt: skip
    """Trains players in turn, each by a loss of its own, in batches and at a learning rate of the work's settings.

    Args:
      players: names and losses; what else is in `params` stands still.
      weight: what the losses receive, such as that of one player's gain in another's loss.
    """

    def make() -> Params:
        s, now = work.settings, jax.tree.map(jnp.asarray, params)
        states = {player: keras_adam(s.rate, MOMENTUM).init(now[player]) for player, _ in players}
        pictures, pool = jnp.asarray(examples.pictures), jnp.asarray(rows)
        with Bar(f"seed {work.seed}, {name}: epochs", s.play, work.console) as bar:
            for epoch in range(s.play):
                key, rate = rng.derive(work.seed, "play", epoch), jnp.float32(s.rate * (1 - epoch / s.play))
                order, n_steps = ordered(key, pool, s.batch)
                for number in range(int(n_steps)):
                    which = order[number * s.batch : (number + 1) * s.batch]
                    batch = take(examples.facts, which)._replace(images=pictures[which])
                    own = jax.random.fold_in(key, 1 + number)
                    now, states = _turns(now, states, batch, rate, jnp.float32(weight), own, players)
                bar.advance(1)
        return {player: now[player] for player, _ in players}

    return work.once(name, make)
