"""`fer-jax explain`: the paper's figures of a trained model, and the numbers that tell how far to trust them.

Over the whole test fold it measures how much a compound class's maps overlap with those of its two parents, and with
those of the other basic classes. It also checks the maps by randomised parameters, deletion and insertion.
"""

import dataclasses
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import special

from fer_jax import metrics
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.classes import parents
from fer_jax.errors import UserError
from fer_jax.explain import figures as explain_figures
from fer_jax.explain import maps as explain
from fer_jax.inference.trained import Trained, in_batches, load_data, logits
from fer_jax.models import precision
from fer_jax.models.head import predict_class
from fer_jax.runs.environment import command
from fer_jax.runs.progress import Bar
from fer_jax.runs.results import environment, write_json

CHECKED = 64  # images of the checks; as many as a batch of the maps, so that both are one compilation
GALLERY = 12  # images of one class's figure
TEMPERATURES = (1, 2, 5, 10)


@dataclasses.dataclass(frozen=True)
class TestFold:
    """Test images of known classes, u8[N, H, W, 3] with label and subject i32[N], and what the model makes of them.

    logits: f32[N, C]. answer: i32[N]. maps: by variant f32[N, H, W], each for the image's own class.
    """

    image: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    logits: np.ndarray
    answer: np.ndarray
    maps: dict[str, np.ndarray]

    def rows(self, c: int) -> np.ndarray:
        """Returns the indices of a class's images."""
        return np.flatnonzero(self.label == c)

    def partners(self, row: int, c: int) -> np.ndarray:
        """Returns the images of class c to compare with an image: the same subject's, or one of another subject if it
        has none.
        """
        rows = self.rows(c)
        own = rows[self.subject[rows] == self.subject[row]]
        return own if own.size or not rows.size else rows[[row % rows.size]]


def run(
    trained: Trained,
    variant: str = "guided",
    layer: str | None = None,
    class_name: str | None = None,
    out: pathlib.Path | None = None,
    console=None,
) -> dict:
    """Measures and draws; writes `explain.json` and the figures (PNG and PDF).

    Args:
      variant: of the maps in figures; overlaps and checks are of both.
      layer: where the maps are taken; None is `explain.default_layer`.
      class_name: draws a sheet of this class's test images, too.
      out: the folder; None is `explain/` of the workdir.

    Returns:
      what is in explain.json.

    Raises:
      UserError: an unknown class, variant or layer, or data that are not there any more.
    """
    began = time.perf_counter()
    layer = _check(trained, variant, layer)
    shown = None if class_name is None else trained.class_index(class_name)
    out = out or trained.home / "explain"
    data, split = load_data(trained)
    _check_sheet(class_name, data.label[split.test] == shown)
    with Bar("explaining", 4, console) as bar:
        fold = _test_fold(trained, data, split.test, layer)
        bar.advance(1)
        report = {
            "model": trained.facts,
            "classes": list(trained.known_names),
            "test_images": len(fold.label),
            "test_subjects": None if data.metadata.get("split_by") == "image" else len(np.unique(fold.subject)),
            "variant": variant,
            "layer": layer,
            "map_size": list(explain.shapes(trained.network, trained.image_size)[layer][:2]),
            "empty_maps": {one: int(np.sum(maps.max((1, 2)) == 0)) for one, maps in fold.maps.items()},
            "overlap": {one: _overlaps(trained, fold, maps) for one, maps in fold.maps.items()},
            "temperature": _temperatures(trained, fold),
        }  # fmt: skip
        bar.advance(1)
        report |= _checks(trained, fold, layer)
        bar.advance(1)
        figures = _figures(trained, fold, report)
        if shown is not None:
            figures |= _sheet(trained, fold, shown, variant)
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            explain_figures.save(figure, out / name)
        bar.advance(1)
    computed = environment(precision.used(trained.config.model.precision))
    report |= {"figures": sorted(figures), "seconds": time.perf_counter() - began, "environment": computed}
    write_json(out / "explain.json", {"command": command(), **report})
    return report


def by_subject(values: np.ndarray, subject: np.ndarray) -> dict:
    """Returns mean and 95 % interval over subjects, each the mean of its images, which are not independent.

    Args:
      values: f[N]; of none the mean is NaN and n is 0.
      subject: i[N].
    """
    if not len(values):
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    means = [float(np.mean(values[subject == one])) for one in np.unique(subject)]
    return dataclasses.asdict(metrics.estimate(means))


def in_words(estimate: dict) -> str:
    """Formats a mean with its interval and n, such as `0.84 [0.83, 0.85] (n = 23)`."""
    if not estimate["n"]:
        return "unknown (n = 0)"
    text = f"{estimate['mean']:.3f}"
    if estimate["n"] > 1:
        text += f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{text} (n = {estimate['n']})"


def _check(trained: Trained, variant: str, layer: str | None) -> str:
    if variant not in explain.VARIANTS:
        raise UserError(f"--variant is {variant!r}; it may be one of {', '.join(explain.VARIANTS)}")
    layers = explain.map_layers(trained.network)
    if layer is not None and layer not in layers:
        raise UserError(f"--layer is {layer!r}; it may be one of {', '.join(layers)}")
    return layer or explain.default_layer(trained.network, trained.image_size)


def _check_sheet(class_name: str | None, of_class: np.ndarray) -> None:
    """Checks that some test image bool[N] is of the class of a sheet, if any; none is of one that a user taught."""
    if class_name is not None and not np.any(of_class):
        raise UserError(f"--class is {class_name!r}, which the run has no test images of; predict --explain draws maps "
                        "of pictures of yours")  # fmt: skip


def _unit(image: np.ndarray) -> jax.Array:
    return jnp.asarray(image, jnp.float32) / 255.0


def _test_fold(trained: Trained, data: FaceArrays, rows: np.ndarray, layer: str) -> TestFold:
    rows = rows[trained.class_mask[data.label[rows]]]
    image, label = data.image[rows], data.label[rows]
    own_logits = in_batches(lambda image: logits(trained.params, image, trained.network), image)
    answer = np.asarray(predict_class(jnp.asarray(own_logits), jnp.asarray(trained.class_mask)))

    def maps(image, label):
        # As `grad_cam`, whose gradients are compiled once here and for the checks.
        parts = explain.gradients(trained.params, _unit(image), jnp.asarray(label), trained.network, layer)
        drawn = [explain.heat_map(explain.class_map(*parts, one), image.shape[1]) for one in explain.VARIANTS]
        return jnp.stack(drawn, 1)

    both = in_batches(maps, image, label)
    by_variant = {one: both[:, i] for i, one in enumerate(explain.VARIANTS)}
    return TestFold(image, label, data.subject[rows], own_logits, answer, by_variant)


def _overlaps(trained: Trained, fold: TestFold, maps: np.ndarray) -> dict:
    """Overlap of every compound image's map with basic maps of the same person, parents and others apart.

    Args:
      maps: f32[N, H, W], of the fold's images.
    """
    base = trained.class_names[: trained.config.data.n_base]
    made_of = {name: parents(name, base) for name in trained.known_names[len(base) :]}
    classes = {trained.class_names.index(name): pair for name, pair in made_of.items() if pair}
    classes = {c: pair for c, pair in classes.items() if fold.rows(c).size}  # a class that a user taught has no tests
    rows = np.flatnonzero(np.isin(fold.label, list(classes)))
    overlaps = {"classes": {}, "all": None, "not_compound": [name for name, pair in made_of.items() if not pair]}
    if not rows.size:
        return overlaps
    shared = np.full((len(fold.label), len(base)), np.nan)
    pairs = [(row, c, one) for row in rows for c in range(len(base)) for one in fold.partners(row, c)]
    one, c, other = np.asarray(pairs).T
    values = in_batches(lambda a, b: explain.overlap(jnp.asarray(maps[a]), jnp.asarray(maps[b])), one, other, batch=256)
    total, count = np.zeros_like(shared), np.zeros_like(shared)
    np.add.at(total, (one, c), values)
    np.add.at(count, (one, c), 1)
    np.divide(total, count, out=shared, where=count > 0)
    is_parent = np.zeros_like(shared, bool)
    for compound, pair in classes.items():
        is_parent[np.ix_(fold.rows(compound), [base.index(name) for name in pair])] = True
    with_parents = np.nanmean(np.where(is_parent, shared, np.nan)[rows], 1)
    with_others = np.nanmean(np.where(is_parent, np.nan, shared)[rows], 1) if len(base) > 2 else None

    def estimates(chosen: np.ndarray) -> dict:
        subject = fold.subject[rows][chosen]
        means = {"with_parents": by_subject(with_parents[chosen], subject)}
        if with_others is not None:
            means["with_others"] = by_subject(with_others[chosen], subject)
            means["difference"] = by_subject((with_parents - with_others)[chosen], subject)
        return means

    for compound, pair in classes.items():
        of_class = fold.label[rows] == compound
        of_rows = fold.rows(compound)
        # The image of the figure: the one with the median overlap, neither the best nor the worst.
        example = of_rows[np.argsort(with_parents[of_class])[of_class.sum() // 2]]
        each = {name: by_subject(shared[of_rows, base.index(name)], fold.subject[of_rows]) for name in pair}
        overlaps["classes"][trained.class_names[compound]] = {
            "parents": list(pair), "with_each_parent": each, "example": int(example), **estimates(of_class)
        }  # fmt: skip
    overlaps["all"] = estimates(np.ones(len(rows), bool))
    return overlaps


def _temperatures(trained: Trained, fold: TestFold) -> dict:
    """Mean highest probability and mean entropy (nats) over the test fold, softmax at every temperature."""
    rows = {}
    softened = explain.softmax_at(jnp.asarray(fold.logits), jnp.asarray(trained.class_mask), TEMPERATURES)
    for temperature, p in zip(TEMPERATURES, np.asarray(softened), strict=True):
        rows[str(temperature)] = {
            "highest_probability": by_subject(p.max(1), fold.subject),
            "entropy": by_subject(special.entr(p).sum(1), fold.subject),
        }
    return rows


def _checks(trained: Trained, fold: TestFold, layer: str) -> dict:
    """Checks the maps of some test images, of the class that the model answers: both variants, and random maps."""
    network = trained.network
    # Dealt over the fold, so that all classes and people have their share.
    rows = np.random.default_rng(0).permutation(len(fold.label))[:CHECKED]
    images, classes, subject = _unit(fold.image[rows]), jnp.asarray(fold.answer[rows]), fold.subject[rows]
    class_mask = jnp.asarray(trained.class_mask)

    def maps(params) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        parts = explain.gradients(params, images, classes, network, layer)
        weights = {variant: explain.channel_weights(*parts, variant) for variant in explain.VARIANTS}
        return {variant: explain.class_map(*parts, variant) for variant in explain.VARIANTS}, weights

    learned, weights = maps(trained.params)
    channels = {
        variant: {"positive": by_subject(np.asarray((of_variant > 0).mean(1)), subject)}
        for variant, of_variant in weights.items()
    }
    sanity = {variant: [] for variant in explain.VARIANTS}
    for part, params in explain.cascade(trained.params, network):
        changed, changed_weights = maps(params)
        for variant in explain.VARIANTS:
            step = _of_varied_maps(explain.rank_correlation(learned[variant], changed[variant]), subject)
            sanity[variant].append({"down_to": part, **step})
            if part == "head":
                there = explain.rank_correlation(weights[variant], changed_weights[variant])
                channels[variant]["randomised_head"] = _of_varied_maps(there, subject)["rank_correlation"]
    learned["random"] = jax.random.uniform(jax.random.key(0), learned["plain"].shape)
    score = functools.partial(explain.deletion_insertion, trained.params, images, classes)
    scores = {
        name: [np.asarray(values) for values in score(explain.heat_map(map_, images.shape[1]), class_mask, network)]
        for name, map_ in learned.items()
    }
    faithfulness = {
        name: {
            "deletion": by_subject(deletion, subject),
            "insertion": by_subject(insertion, subject),
            "deletion_against_random": by_subject(deletion - scores["random"][0], subject),
            "insertion_against_random": by_subject(insertion - scores["random"][1], subject),
        }
        for name, (deletion, insertion) in scores.items()
    }
    return {"checked_images": len(rows), "sanity": sanity, "channel_weights": channels, "faithfulness": faithfulness}


def _of_varied_maps(correlation: np.ndarray, subject: np.ndarray) -> dict:
    """Summarises correlations f64[N] over subjects without those of constant maps (NaN), and counts these."""
    there = ~np.isnan(correlation)
    return {"rank_correlation": by_subject(correlation[there], subject[there]), "constant_maps": int((~there).sum())}


def _figures(trained: Trained, fold: TestFold, report: dict) -> dict[str, Figure]:
    figures = {"checks": explain_figures.checks(report["sanity"], report["faithfulness"])}
    overlap, maps = report["overlap"][report["variant"]], fold.maps[report["variant"]]
    if overlap["classes"]:
        triples = [_triple(trained, fold, maps, name, values) for name, values in overlap["classes"].items()]
        figures["parents"] = explain_figures.parents(triples, overlap["all"], report["variant"], report["layer"])
        figures["overlap"] = explain_figures.overlaps(overlap)
    right = np.flatnonzero(fold.answer == fold.label)
    rows = right if right.size else np.arange(len(fold.label))
    mask = jnp.asarray(trained.class_mask)
    confidence = np.asarray(explain.softmax_at(jnp.asarray(fold.logits[rows]), mask, (1,)))[0].max(1)
    row = rows[np.argsort(confidence)[len(rows) // 2]]
    softened = np.asarray(explain.softmax_at(jnp.asarray(fold.logits[[row]]), mask, TEMPERATURES))[:, 0]
    known = trained.class_mask
    figures["temperature"] = explain_figures.temperature(
        fold.image[row], trained.class_names[fold.label[row]], dict(zip(TEMPERATURES, softened[:, known], strict=True)),
        trained.known_names,
    )  # fmt: skip
    return figures


def _sheet(trained: Trained, fold: TestFold, c: int, variant: str) -> dict[str, Figure]:
    """Draws the first test images of a class under their maps."""
    rows, name = fold.rows(c)[:GALLERY], trained.class_names[c]
    answers = [trained.class_names[answer] for answer in fold.answer[rows]]
    file = "class_" + "".join(one if one.isalnum() else "_" for one in name)
    return {file: explain_figures.gallery(name, fold.image[rows], fold.maps[variant][rows], answers)}


def _triple(trained: Trained, fold: TestFold, maps: np.ndarray, name: str, values: dict) -> explain_figures.Triple:
    """The example image of a compound class between one of each parent."""
    row = values["example"]
    partners = [fold.partners(row, trained.class_names.index(parent))[0] for parent in values["parents"]]
    shared = [float(explain.overlap(maps[row], maps[partner])) for partner in partners]
    left, right = ((fold.image[p], maps[p]) for p in partners)
    return explain_figures.Triple(
        name, tuple(values["parents"]), (left, (fold.image[row], maps[row]), right), tuple(shared)
    )
