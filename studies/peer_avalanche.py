"""How accurate and how fast are the methods that we share with Avalanche, on the same streams of digits?

Command: python -m studies.peer_avalanche --python .venv-avalanche/bin/python --out docs/results/peer_avalanche.json
         (make peer-avalanche)
Result:  docs/results/peer_avalanche.json
Time:    ten minutes on one core

The streams are those of configs/digits.py. Avalanche runs in a process of its own, under a Python that has it
(`studies/materials/avalanche_stream.py`; PyTorch is no dependency of fer_jax); while one side works the other waits. It
is given our arrays: the pictures as our network reads them, our split, our class orders and room for as many exemplars
of each class. Layers, epochs, batch size, learning rate and seeds are the same, and so are the weights of terms that
both have.

A seed is a base model and a class order of its own, so that intervals are over base models. In every round of one seed
each method runs on both sides from nothing to the last test image; which side begins changes. A run of each with one
epoch comes before, in which we compile. Our seconds are those of a whole run, checkpoints and results included; those
of training and evaluation alone are beside them.

What is not the same: each side draws its initial weights as it usually does. Avalanche's Adam goes on from task to
task, ours starts anew. Its iCaRL trains the first task by sigmoids too, ours by a softmax. Its replay, DER++ and ER-ACE
put as many exemplars as new images into each batch, so its batches are of twice the size there; ours read the union of
both, and in pairs what has `_paired` in its name. Its joint model trains once on all classes, ours after the base task
too. Its EWC has a penalty for every task, ours one for all. Its BiC fits two numbers by 200 epochs of gradient descent,
ours finds their optimum.
"""

import dataclasses
import functools
import json
import pathlib
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable

import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import experiment, metrics, protocol, replay
from fer_jax.bench.timing import compilations, summary, times_as_fast
from fer_jax.data.load import load
from fer_jax.phases.fold import build_network
from fer_jax.runs.progress import log, start_logging
from studies import record

STREAM = pathlib.Path(__file__).parent / "materials" / "avalanche_stream.py"
STREAMS = ("4+6x1", "5x2")
# Ours by Avalanche's.
METHODS = {
    "finetune": ("finetune",),
    "lwf": ("lwf",),
    "ewc": ("ewc",),
    "er": ("er", "er_paired"),
    "icarl": ("icarl",),
    "derpp": ("derpp", "derpp_paired"),
    "bic": ("bic",),
    "gdumb": ("gdumb",),
    "er_ace": ("er_ace", "er_ace_paired"),
    "slda": ("slda",),
    "joint": ("joint",),
}
MEASURES = ("final_accuracy", "average_incremental_accuracy")


def config_of(stream: str, seed: int, method: str, epochs: int | None = None) -> ml_collections.ConfigDict:
    """Returns configs/digits.py for one seed, which takes the class order of its number, and one method."""
    config = runpy.run_path(str(record.ROOT / "configs" / "digits.py"))["get_config"](stream)
    config.update_from_flattened_dict(
        {"seed": seed, "protocol.n_orders": seed + 1, "protocol.orders": (seed,), "methods": (method,),
         "joint.steps": "last"}
    )  # fmt: skip
    if epochs is not None:
        for section in (config.basic.body, config.continual, config.joint, config.gdumb):
            section.max_epochs = epochs
    return configs.resolve(config)


def arrays(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
    """Returns the pictures as our network reads them, x f32[N, D], and labels y i64[N], to train and to test on."""
    data = load(config.data)
    split = _split(config, data)
    network = build_network(config, len(data.class_names))
    seen = np.asarray(network.scale_input(data.image.astype(np.float32) / 255.0)).mean(-1).reshape(len(data.image), -1)
    parts = {"train": split.train, "test": split.test}
    return {f"x_{part}": seen[rows] for part, rows in parts.items()} | {
        f"y_{part}": data.label[rows].astype(np.int64) for part, rows in parts.items()
    }


def _split(config: ml_collections.ConfigDict, data) -> protocol.Split:
    (fold,) = config.protocol.folds
    return protocol.split(
        data.subject, fold, config.protocol.n_folds, config.protocol.name, data.official_test, data.label
    )


def request(config: ml_collections.ConfigDict, method: str, n_train: int, n_classes: int) -> dict:
    """Returns what Avalanche is asked for: a method on our stream, with our settings."""
    n_base, per_increment = config.data.n_base, config.protocol.classes_per_increment
    (number,) = config.protocol.orders
    order = protocol.class_orders(n_classes - n_base, config.protocol.n_orders, config.protocol.order_seed)[number]
    steps = protocol.learned_at(order, n_base, per_increment)
    exemplars = replay.exemplars_per_class(
        n_train, n_classes, n_base, 0, config.memory.mode, config.protocol.name, config.memory.share, per_increment
    )
    return {
        "method": method, "seed": config.seed, "epochs": config.continual.max_epochs,
        "batch": config.continual.batch_size, "learning_rate": config.continual.learning_rate,
        "widths": list(config.model.widths), "exemplars": exemplars,
        "tasks": [np.flatnonzero(steps == step).tolist() for step in range(steps.max() + 1)],
    }  # fmt: skip


def scores(accuracies: list[list[float]], tasks: list[list[int]], y_test: np.ndarray) -> dict[str, float]:
    """Returns our metrics of Avalanche's accuracies on the test images of each task, after each task.

    Both pool the test images of the classes seen so far. A joint model, with one row, has the final accuracy alone.
    """
    counts = np.array([np.isin(y_test, task).sum() for task in tasks])
    if len(accuracies) == 1:
        return {"final_accuracy": float(np.average(accuracies[0], weights=counts))}
    return {name: getattr(metrics, name)(accuracies, np.arange(len(tasks)), counts) for name in MEASURES}


def our_run(config: ml_collections.ConfigDict) -> dict:
    """Runs an experiment of one method from nothing in a folder of its own; returns its metrics and seconds."""
    (method,) = config.methods
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found = experiment.train(config, pathlib.Path(folder) / "run")
        seconds = time.perf_counter() - began
    (run,) = found["continual"][method]["runs"]
    training = found["seconds"]["basic"] + found["seconds"]["continual"][method]
    measured = {name: run["metrics"][name] for name in MEASURES if name in run["metrics"]}
    return {**measured, "seconds": seconds, "training_seconds": training}


def one_round(
    peer: record.Peer, stream: str, seed: int, given: dict[str, np.ndarray], epochs: int | None
) -> list[dict]:
    """Runs every method on both sides; which one begins changes from seed to seed. Returns a row a pair."""
    n_train, n_classes = len(given["y_train"]), 1 + int(given["y_train"].max())
    rows = []
    for name, ours in METHODS.items():
        asked = request(config_of(stream, seed, ours[0], epochs), name, n_train, n_classes)

        def theirs(asked=asked) -> dict:
            answer = peer.ask(json.dumps(asked))
            return {**scores(answer["accuracies"], asked["tasks"], given["y_test"]), "seconds": answer["seconds"]}

        first = theirs() if seed % 2 else None
        done = {method: our_run(config_of(stream, seed, method, epochs)) for method in ours}
        other = first or theirs()
        for method, run in done.items():
            rows.append({"stream": stream, "seed": seed, "method": method, "ours": run, "avalanche": other})
            log.info("%s", told(rows[-1]))
    return rows


def told(row: dict) -> str:
    """Returns a row in words."""
    parts = (
        f"{side} {100 * row[side]['final_accuracy']:.1f} % in {row[side]['seconds']:.1f} s"
        for side in ("ours", "avalanche")
    )
    return f"{row['stream']}, seed {row['seed']}, {row['method']}: {', '.join(parts)}"


def compared(rows: list[dict]) -> dict:
    """Returns a method's estimates over base models, a row each: accuracies of both, their difference, and seconds."""
    sides = ("ours", "avalanche")
    found = {}
    for name in MEASURES:
        if all(name in row[side] for row in rows for side in sides):
            values = {side: np.array([row[side][name] for row in rows]) for side in sides}
            values["difference"] = values["ours"] - values["avalanche"]
            found[name] = {what: dataclasses.asdict(metrics.estimate(value)) for what, value in values.items()}
    seconds = {side: [row[side]["seconds"] for row in rows] for side in sides}
    training = [row["ours"]["training_seconds"] for row in rows]
    return {
        **found,
        "seconds": {**{side: summary(value) for side, value in seconds.items()}, "our_training": summary(training)},
        "times_avalanche": times_as_fast(seconds["avalanche"], seconds["ours"]),
        "training_times_avalanche": times_as_fast(seconds["avalanche"], training),
    }


def measure(
    python: str,
    streams: tuple[str, ...],
    seeds: int,
    epochs: int | None = None,
    save: Callable[[dict], None] = lambda found: None,
) -> dict:
    """Returns the comparison on every stream.

    Args:
      epochs: of every fit in place of the config's.
      save: is given the result after every seed.

    Raises:
      UserError: the Python is none that has Avalanche.
    """
    before, config, rows = record.load(), config_of(streams[0], 0, "er", epochs), []
    given = arrays(config)
    asked = request(config, "er", len(given["y_train"]), 1 + int(given["y_train"].max()))
    found = {
        "settings": {key: asked[key] for key in ("epochs", "batch", "learning_rate", "widths", "exemplars")}
        | {"train": len(given["y_train"]), "test": len(given["y_test"])},
        "environment": record.environment(config.model.precision, before),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "arrays.npz"
        np.savez(file, **given)
        with record.Peer(python, STREAM, ["--arrays", str(file)], "avalanche", "make peer-avalanche") as peer:
            log.info("Avalanche is there: %s", peer.told)
            found["peer"] = peer.told
            with compilations() as compiled:
                for stream in streams:
                    one_round(peer, stream, 0, given, 1)
            found["compile_seconds"] = compiled.seconds
            for seed in range(seeds):
                for stream in streams:
                    rows += one_round(peer, stream, seed, given, epochs)
                found["settings"]["seeds"] = seed + 1
                found["peak_bytes"] = {
                    "avalanche": peer.ask(json.dumps({"peak": True})),
                    "ours": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                }
                found |= {"streams": {stream: by_method(rows, stream) for stream in streams}, "rows": rows}
                save(found)
    return found


def by_method(rows: list[dict], stream: str) -> dict[str, dict]:
    """Returns the estimates of every method on a stream."""
    names = [method for ours in METHODS.values() for method in ours]
    return {name: compared([row for row in rows if (row["stream"], row["method"]) == (stream, name)]) for name in names}


def main() -> None:
    """Measures, writes JSON to `--out`, and prints accuracies and ratios."""
    parser = record.command(__doc__)
    parser.add_argument("--python", default=sys.executable, help="of an environment with Avalanche (this one)")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=STREAMS)
    parser.add_argument("--seeds", type=record.at_least(1), default=5)
    parser.add_argument("--epochs", type=record.at_least(1), help="of every fit, for a quicker look")
    a = parser.parse_args()
    start_logging()
    with record.in_one_line(parser):
        found = measure(a.python, tuple(a.streams), a.seeds, a.epochs, functools.partial(record.write, a.out))
    for stream, methods in found["streams"].items():
        for name, one in methods.items():
            e, times = one["final_accuracy"], one["times_avalanche"]
            print(
                f"{stream}, {name}: ours {record.words(e['ours'])}, Avalanche {record.words(e['avalanche'])}; "
                f"{times['median']:.2f} × as fast [{times['low']:.2f}, {times['high']:.2f}], n {times['n']}"
            )


if __name__ == "__main__":
    main()
