"""How fast are our training step and evaluation beside the published ones in Keras?

Command: python -m studies.peer_keras --python .venv-peer/bin/python --out docs/results/peer_keras.json     (make peer)
Result:  docs/results/peer_keras.json
Time:    eight minutes on two cores

Both are measured by turns in one command. Keras runs in a process of its own, `studies/materials/keras_step.py` under a
Python that has the extra `peer` (TensorFlow is no dependency of fer_jax); this process tells it when. While one works
the other waits. In every round each of the functions is called once, beginning with another one each time; ratios are
those within rounds. Both start from random weights, which changes no time. Network, cut, batch and pixels are those of
configs/cfee.py. Our steps augment their batch; Keras is given one that is augmented already.
"""

import pathlib
import sys

import jax

from fer_jax import config as configs
from fer_jax.bench import arithmetic
from fer_jax.bench.inference import Evaluation
from fer_jax.bench.step import steps
from fer_jax.bench.timing import interleaved, rates, times_as_fast, warm
from fer_jax.bench.world import fold_of, noise, recipe_of
from fer_jax.config.file import read_config
from fer_jax.phases import base as base_task
from fer_jax.runs.progress import log, start_logging
from studies import record

STEP = pathlib.Path(__file__).parent / "materials" / "keras_step.py"
# With what a quicker look, of the same code, is had.
QUICK = {"rounds": 3, "evaluated": 64}


class Keras(record.Peer):
    """The other process; a call does one thing there and returns when it is done."""

    def __init__(self, python: str, pixels: int, batch: int, classes: int, evaluated: int):
        options = {"pixels": pixels, "batch": batch, "classes": classes, "evaluated": evaluated}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        super().__init__(python, STEP, words, "keras", "make peer")
        self.seconds: dict[str, list[float]] = {}

    def ask(self, line: str) -> None:
        """Its own clock's seconds are stored; they leave out the way through the pipe."""
        self.seconds.setdefault(line, []).append(super().ask(line))


def measure(config, python: str, rounds: int, evaluated: int) -> dict:
    """Measures steps, then evaluations, each by turns."""
    load = record.load()
    fold = fold_of(config, noise(config, max(10, config.protocol.n_folds)))
    base, recipe, size = base_task.initial_params(fold), recipe_of(fold), fold.images.shape[1]
    log.info("compiling")
    ours = steps(fold, base)
    evaluation = Evaluation(fold, base, evaluated)
    with Keras(python, size, recipe.batch_size, fold.n_classes, evaluated) as peer:
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
    mine = {kind: arithmetic.step(fold.network, size, recipe.cut, recipe.batch_size, kind) for kind in ours}
    peak = arithmetic.matmul_peak()
    work = {**mine, "keras": mine["published"]}
    trunk, tail = arithmetic.forward(fold.network, size, evaluation.cut, evaluated)
    return {
        "settings": {
            "network": "ResNet50V2", "pixels": size, "batch": recipe.batch_size, "classes": fold.n_classes,
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
        "environment": record.environment(config.model.precision, load),
    }  # fmt: skip


def main() -> None:
    """Measures, writes JSON to `--out`, and prints rates and ratios."""
    parser = record.command(__doc__)
    parser.add_argument("--python", default=sys.executable, help="of an environment with the extra peer (this one)")
    parser.add_argument("--config", default=str(record.ROOT / "configs" / "cfee.py"), metavar="FILE")
    parser.add_argument("--rounds", type=record.at_least(1), default=20)
    parser.add_argument("--quick", action="store_true", help="three rounds, fewer pictures")
    a = parser.parse_args()
    start_logging()
    config = configs.resolve(read_config([f"--config={a.config}"]))
    with record.in_one_line(parser):
        found = measure(config, a.python, **(QUICK if a.quick else {"rounds": a.rounds, "evaluated": 256}))
    record.write(a.out, found)
    for part in ("step", "evaluation"):
        for name, row in found[part].items():
            rate, times = row["images_per_second"], row["times_keras"]
            print(
                f"{part} {name}: {rate['median']:.1f} images/s, {times['median']:.2f} × Keras "
                f"[{times['low']:.2f}, {times['high']:.2f}], n {times['n']}"
            )


if __name__ == "__main__":
    main()
