"""What the documents promise of measured figures, checked where they are measured.

    python -m studies.documents.bars bench

`make` calls it after it has written docs/results/bench.json: a figure that misses its bar ends it with exit code 1 and
a line that says which, before any table is made. So does a figure that is missing or no number.
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from studies.documents.performance import OWN_LOSS
from studies.peer_avalanche import METHODS, STREAMS

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"


class Bar(NamedTuple):
    """What a figure of a results file is, how it is read, and what it may be."""

    what: str
    figure: Callable[[dict], float]
    least: float = -np.inf
    most: float = np.inf

    def missed(self, found: dict) -> str | None:
        """Returns the line that says how the bar is missed, or None."""
        try:
            figure = float(self.figure(found))
        except (LookupError, ValueError, ZeroDivisionError, OSError) as error:
            return f"{self.what} is not there: {error!r}"
        if self.least <= figure <= self.most:
            return None
        bounds = [
            f"{word} {bound:g}" for word, bound in (("from", self.least), ("to", self.most)) if np.isfinite(bound)
        ]
        return f"{self.what} is {figure:.4g}; it may be {' '.join(bounds)}"


def _rows(found: dict, name: str, **settings) -> list[dict]:
    """The rows of `fer-jax bench` of this name and with these settings, one at least."""
    rows = [row for row in found["measurements"] if row["name"] == name]
    rows = [row for row in rows if all(row["settings"][key] == value for key, value in settings.items())]
    if not rows:
        raise KeyError(f"{name} {settings}")
    return rows


def _row(found: dict, name: str, **settings) -> dict:
    (row,) = _rows(found, name, **settings)
    return row


def _memory(found: dict, kind: str) -> int:
    return _row(found, "step", kind=kind)["temporary_bytes"]


def _work(found: dict) -> list[float]:
    """How many times the multiply-adds of our formula XLA counts."""
    works = [row["multiply_adds"] for row in found["measurements"] if "multiply_adds" in row]
    return [work["xla"] / work["formula"] for work in works if work["formula"]]


def _peaks(found: dict) -> list[float]:
    return [row["share_of_matmul_peak"] for row in found["measurements"] if row.get("share_of_matmul_peak") is not None]


def _mean(found: dict, method: str, metric: str) -> float:
    return found["continual"][method]["metrics"][metric]["mean"]


AIA = "average_incremental_accuracy"


def _bench() -> Iterator[Bar]:
    # By multiply-adds alone they are 1.5 and 4.0. The tail's small maps are farther from the peak than the trunk's on
    # some processors: an EPYC's cached step is 3.6 times as fast, a Xeon's was 4.0.
    for kind, least in (("exact", 1.4), ("cached", 3.4)):
        yield Bar(f"the {kind} step's speed in published steps",
                  lambda f, kind=kind: _row(f, "step", kind=kind)["times_published"]["median"], least)  # fmt: skip
    for less, more in (("cached", "exact"), ("exact", "published")):
        yield Bar(f"the {less} step's temporary memory in that of the {more} one",
                  lambda f, kinds=(less, more): _memory(f, kinds[0]) / _memory(f, kinds[1]), most=0.999)  # fmt: skip
    yield Bar("trunk passes an image of memory selection",
              lambda f: _row(f, "selection")["trunk_passes_an_image"], most=1.05)  # fmt: skip
    yield Bar("trunk passes after the first selection",
              lambda f: _row(f, "selection")["trunk_passes_after_the_first_time"], most=0)  # fmt: skip
    yield Bar("the greatest share of the matmul peak", lambda f: max(_peaks(f)), most=1.02)
    # XLA counts what is no product, too, which is much on pictures of 16 × 16.
    yield Bar("XLA's least count of multiply-adds in ours", lambda f: min(_work(f)), least=0.9)
    yield Bar("XLA's greatest count of multiply-adds in ours", lambda f: max(_work(f)), most=3)
    for what, least in (("median", 0.97), ("low", 0.93)):
        yield Bar(f"a run's epoch in the speed of the fastest form, {what}",
                  lambda f, what=what: _row(f, "epoch", usual=True)["times_fastest"][what], least)  # fmt: skip
    yield Bar("the speed of ten runs side by side in those one by one, low",
              lambda f: _row(f, "runs", runs=10, usual=True)["times_one_by_one"]["low"], least=1.001)  # fmt: skip
    # Losses differ by what Adam makes of roundings, which depends on the kind of CPU: from weights one rounding away
    # they differ as much. A small network's are within 1e-5 of each other (tests/bench/test_devices.py).
    for n in (1, 2, 4, 8):
        for same in ("same_batches", "same_answers"):
            yield Bar(f"{same} on {n} devices", lambda f, n=n, same=same: _row(f, "devices", devices=n)[same], least=1)
        yield Bar(f"the greatest difference in loss on {n} devices in that by one rounding", lambda f, n=n: max(
            _row(f, "devices", devices=n)["differences_in_loss"])
            / max(max(row["differences_by_rounding"]) for row in _rows(f, "devices")), most=3)  # fmt: skip
    for over in ("classes", "memory share", "images", "pixels"):
        for what in ("step", "epoch", "selection"):
            for figure, most in (("exponent", 1.1), ("steepest", 1.5)):
                yield Bar(f"the {figure} of a {what}'s cost over {over}", lambda f, over=over, what=what, figure=figure:
                          _row(f, "growth", over=over)[what][figure], most=most)  # fmt: skip


@functools.cache
def _theirs(method: str) -> float:
    found = json.loads((RESULTS / "peer_avalanche.json").read_text())
    return found["streams"]["4+6x1"][method]["final_accuracy"]["avalanche"]["mean"]


def _digits() -> Iterator[Bar]:
    for method in METHODS:
        yield Bar(f"{method}'s final accuracy above Avalanche's",
                  lambda f, m=method: _mean(f, m, "final_accuracy") - _theirs(m), least=-0.02)  # fmt: skip
    for method in ("finetune", "lwf", "ewc"):  # answer the last class alone
        yield Bar(f"{method}'s final accuracy", lambda f, m=method: _mean(f, m, "final_accuracy"), 0.08, 0.12)


def _avalanche() -> Iterator[Bar]:
    for stream in STREAMS:
        for method in METHODS:
            yield Bar(f"{method}'s final accuracy above Avalanche's on {stream}", lambda f, at=(stream, method):
                      f["streams"][at[0]][at[1]]["final_accuracy"]["difference"]["mean"], least=-0.02)  # fmt: skip


def _ahead(found: dict, metric: str) -> float:
    """How far the proposed method is ahead of the paper's, paired by base model and order."""
    return found["comparison"]["metrics"][metric]["to_reference"]["contrastive_replay"]["mean"]


COMMANDS = (
    ("--help", "help", 0.5),
    ("a mistake in the config", "mistake", 2),
    ("a predict that compiles", "predict_cold", 5),
    ("a second predict", "predict", 3),
    ("the ONNX export", "onnx", 15),
)
BARS = {
    "best": (
        Bar("the average incremental accuracy above the paper's", lambda f: _ahead(f, AIA), least=0.13),
        Bar("the final accuracy above the paper's", lambda f: _ahead(f, "final_accuracy"), least=0.2),
        Bar("the final accuracy above the best other's", lambda f: _mean(f, "contrastive_replay", "final_accuracy")
            - max(_mean(f, name, "final_accuracy") for name in ("slda", "icarl")), least=0.1),
        Bar("the joint model's final accuracy in the Bayes accuracy", lambda f:
            _mean(f, "joint_contrastive", "final_accuracy") / f["data"]["metadata"]["bayes"]["all"], least=0.9),
        *(Bar(f"the harmonic mean of {shots} shots", lambda f, shots=shots:
              f["few_shot"]["estimates"][f"{shots}, class_mean"]["harmonic_mean"]["mean"], least=least)
          for shots, least in ((1, 0.62), (5, 0.74))),
    ),
    "quickstart": (
        Bar("the joint model's final accuracy in the Bayes accuracy", lambda f: _mean(f, "joint", "final_accuracy")
            / f["data"]["metadata"]["bayes"]["all"], least=0.8),
        Bar("finetuning's final accuracy", lambda f: _mean(f, "finetune", "final_accuracy"), most=0.15),
        Bar("the average incremental accuracy of kd_psmr above finetuning's",
            lambda f: _mean(f, "kd_psmr", AIA) - _mean(f, "finetune", AIA), least=0.3),
    ),
    "digits_4+6x1": tuple(_digits()),
    "using": (
        Bar("the slowest explain, in seconds",
            lambda f: max(one["median"] for one in f["figures_seconds"].values()), most=30),
        *(Bar(f"{what}, in seconds", lambda f, key=key: f[f"{key}_seconds"]["median"], most=most)
          for what, key, most in COMMANDS),
        Bar("a warm predict, in seconds", lambda f: f["predict_warm_seconds"]["median"], most=0.05),
        Bar("the report, in megabytes", lambda f: f["report_megabytes"], most=5),
        Bar("Grad-CAM images a second", lambda f: f["grad_cam_images_per_second"]["median"], least=200),
    ),
    "serve": (
        Bar("the slowest kind of predict, in seconds", lambda f: max(
            one["median"] for name, one in f["request_seconds"].items() if name.startswith("predict")), most=0.06),
        Bar("the camera's answers a second", lambda f: f["camera"]["answers_per_second"], least=8),
        Bar("the first class taught, in seconds", lambda f: f["teach_seconds"]["first"], most=20),
    ),
    "walk": (
        Bar("the blocks that fail", lambda f: sum(row["exit_code"] != 0 for row in f["blocks"]), most=0),
        Bar("the demo's run, in seconds", lambda f: f["demo_seconds"]["run"], most=300),
        Bar("the demo, in seconds", lambda f: f["demo_seconds"]["total"], most=420),
        Bar("a run with README's own loss, in seconds", lambda f: sum(row["seconds"] for row in f["blocks"]
            if row["page"] == "README.md" and OWN_LOSS in row["block"]), most=180),
        # Two kinds of processors differ in the last digits, and a quickstart then by one or two points.
        Bar("the greatest distance of the demo's accuracies from the committed range", lambda f: max(
            max(row["least"] - row["here"], row["here"] - row["most"]) for row in f["accuracies"]), most=0.02),
    ),
    "teach": (
        Bar("the harmonic mean above the few-shot phase's",
            lambda f: f["estimates"]["difference"]["mean"], least=-0.03),
        Bar("the slowest of three classes, in seconds", lambda f: max(f["seconds"]), most=20),
    ),
    "units": tuple(
        Bar(f"a {kind} run on action units, in seconds",
            lambda f, kind=kind: f["run_seconds"][kind]["median"], most=most)
        for kind, most in (("warm", 20), ("cold", 60))
    ),
    "bench": tuple(_bench()),
    "peer_avalanche": tuple(_avalanche()),
    "peer_keras": (
        Bar("the cached step's speed in Keras steps, low",
            lambda f: f["step"]["cached"]["times_keras"]["low"], least=2.5),
        Bar("the speed of evaluation from the cache in Keras', low",
            lambda f: f["evaluation"]["cache"]["times_keras"]["low"], least=4),
    ),
    # An increment of the quickstart's network takes 0.2 s here, of which the host alone takes 0.03 s.
    "profile": (
        Bar("the share of compiled code", lambda f: f["compiled_share"], least=0.85),
        Bar("seconds of compilation after the first increment", lambda f: sum(f["compile_seconds"][1:]), most=0),
    ),
    "side_by_side": (
        Bar("the greatest difference of accuracies side by side", lambda f: f["greatest_difference"], most=1e-4),
        Bar("the time side by side in that one by one, high", lambda f: f["time_share"]["high"], most=0.999),
    ),
}  # fmt: skip


def missed(name: str, found: dict) -> list[str]:
    """Returns a line for each bar of docs/results/NAME.json that the file's content misses."""
    return [f"{name}: {line}" for bar in BARS[name] if (line := bar.missed(found))]


def main() -> None:
    """Checks the files named, and ends with exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=BARS, metavar="NAME", help=f"of docs/results: {', '.join(BARS)}")
    for name in parser.parse_args().names:
        lines = missed(name, json.loads((RESULTS / f"{name}.json").read_text()))
        if lines:
            sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()
