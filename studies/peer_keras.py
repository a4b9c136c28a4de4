"""Our training step and evaluation against the published ones in Keras, by turns in one command.

    python studies/peer_keras.py --python .venv-peer/bin/python --out docs/results/peer_keras.json     # make peer

Keras runs in a process of its own, under a Python that has the extra `peer` (TensorFlow is no dependency of fer_jax);
this process tells it when. While one works the other waits. In every round each of the functions is called once,
beginning with another one each time; ratios are those within rounds. Both start from random weights, which changes no
time. Network, cut, batch and pixels are those of configs/cfee.py. Our steps augment their batch; Keras is given
one that is augmented already.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import jax

from fer_jax import config as configs
from fer_jax.bench import arithmetic
from fer_jax.bench.inference import Evaluation
from fer_jax.bench.step import steps
from fer_jax.bench.timing import interleaved, rates, times_as_fast, warm
from fer_jax.bench.world import noise, recipe_of, setup_of
from fer_jax.config.file import read_config
from fer_jax.models import precision
from fer_jax.phases import base as basic
from fer_jax.runs import results
from fer_jax.runs.progress import log, start_logging

HERE = pathlib.Path(__file__).parent
# With what a quicker look, of the same code, is had.
QUICK = {"rounds": 3, "evaluated": 64}


class Keras:
    """The other process; a call does one thing there and returns when it is done."""

    def __init__(self, python: str, pixels: int, batch: int, classes: int, evaluated: int):
        self._process = subprocess.Popen(
            [python, str(HERE / "keras_step.py"), "--pixels", str(pixels), "--batch", str(batch), "--classes",
             str(classes), "--evaluated", str(evaluated)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.told = self._answer()
        self.seconds: dict[str, list[float]] = {}

    def __enter__(self) -> "Keras":
        return self

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"peer_keras: the process of Keras ended with exit code {self._process.wait()}")
        return json.loads(line)

    def ask(self, what: str) -> None:
        """Its own clock's seconds are kept; they leave out the way through the pipe."""
        print(what, file=self._process.stdin, flush=True)
        self.seconds.setdefault(what, []).append(self._answer())


def measure(config, python: str, rounds: int, evaluated: int) -> dict:
    """Steps, then evaluations, each by turns."""
    setup = setup_of(config, noise(config, max(10, config.protocol.n_folds)))
    base, recipe, size = basic.initial_params(setup), recipe_of(setup), setup.images.shape[1]
    log.info("compiling")
    ours = steps(setup, base)
    evaluation = Evaluation(setup, base, evaluated)
    with Keras(python, size, recipe.batch_size, setup.n_classes, evaluated) as peer:
        log.info("Keras is there: %s", peer.told)
        trained = sum(leaf.size for leaf in jax.tree.leaves(recipe.init(base)[0].trainable))
        if trained != peer.told["trained"]:
            raise SystemExit(f"peer_keras: Keras trains {peer.told['trained']} parameters, ours {trained}")
        tell = {"keras": lambda: peer.ask("step"), **ours}
        seconds = interleaved(tell, rounds, budget=240)
        seconds["keras"] = peer.seconds["step"]
        log.info("steps are measured")
        answers = {"pixels": evaluation.from_pixels, "cache": evaluation.from_cache}
        for function in answers.values():
            warm(function)
        shown = interleaved({"keras": lambda: peer.ask("evaluate"), **answers}, max(3, rounds // 2), budget=120)
        shown["keras"] = peer.seconds["evaluate"]
        for _ in range(5):
            peer.ask("peak")
        peer_peak = 2048**3 / min(peer.seconds["peak"])
    mine = {kind: arithmetic.step(setup.network, size, recipe.cut, recipe.batch_size, kind) for kind in ours}
    peak = arithmetic.matmul_peak()
    work = {**mine, "keras": mine["published"]}
    trunk, tail = arithmetic.forward(setup.network, size, evaluation.cut, evaluated)
    return {
        "settings": {
            "network": "ResNet50V2", "pixels": size, "batch": recipe.batch_size, "classes": setup.n_classes,
            "cut": recipe.cut, "evaluated": evaluated, "rounds": rounds,
        },
        "step": {
            name: {
                "images_per_second": rates(recipe.batch_size, seconds[name]),
                "multiply_adds": work[name],
                "share_of_matmul_peak": work[name] / min(seconds[name]) / peak.per_second,
                "times_keras": times_as_fast(seconds["keras"], seconds[name]),
                "times_published": times_as_fast(seconds["published"], seconds[name]),
            }
            for name in ("keras", *ours)
        },
        "evaluation": {
            name: {
                "images_per_second": rates(evaluated, shown[name]),
                "multiply_adds": tail if name == "cache" else trunk + tail,
                "times_keras": times_as_fast(shown["keras"], shown[name]),
            }
            for name in ("keras", *answers)
        },
        "matmul_peak": {"ours": peak.per_second, "keras": peer_peak, "dtype": peak.dtype},
        "peer": peer.told,
        "trained": trained,
        "environment": {
            **results.environment(precision.used(config.model.precision)), "cores": len(os.sched_getaffinity(0)),
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="of an environment with the extra peer (this one)")
    parser.add_argument("--config", default=str(HERE.parent / "configs" / "cfee.py"), metavar="FILE")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three rounds, fewer pictures")
    a = parser.parse_args()
    if a.rounds < 1:
        parser.error(f"--rounds is {a.rounds}; it may be from 1")
    start_logging()
    config = configs.resolve(read_config([f"--config={a.config}"]))
    load = round(os.getloadavg()[0], 2)
    found = measure(config, a.python, **(QUICK if a.quick else {"rounds": a.rounds, "evaluated": 256}))
    found["environment"]["load_before"] = load
    results.write_json(a.out, found)
    for part in ("step", "evaluation"):
        for name, row in found[part].items():
            rate, times = row["images_per_second"], row["times_keras"]
            print(
                f"{part} {name}: {rate['median']:.1f} images/s, {times['median']:.2f} × Keras "
                f"[{times['low']:.2f}, {times['high']:.2f}], n {times['n']}"
            )


if __name__ == "__main__":
    main()
