"""Does `fer-jax teach` learn a class as well as the few-shot phase, and in how many seconds?

Command: python -m studies.teach --out docs/results/teach.json     (make teach)
Result:  docs/results/teach.json
Time:    half an hour on two cores, most of it for the base models

Every seed has people and a base model of its own, trained as the recommended method's is. The few-shot phase learns
each of the fifteen compound expressions from five pictures, two draws each, and `teach` learns them from the very same
pictures beside the same six expressions. Both are measured on the same test people: the harmonic mean of the accuracy
on the new class and on the six. Then the command itself teaches the first seed's model three classes in a row from
files, each class beside those before; it is timed as a process, from its start to its end.
"""

import argparse
import dataclasses
import json
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
import time

import jax
import ml_collections
import numpy as np
from PIL import Image

from fer_jax import experiment, metrics
from fer_jax.inference import taught, teach, trained
from fer_jax.phases.few_shot import drawn_shots
from fer_jax.phases.fold import Fold
from fer_jax.runs.progress import log, start_logging
from studies import record

SHOTS, DRAWS, IN_A_ROW = 5, 2, 3


def settings(seed: int, changes: dict) -> ml_collections.ConfigDict:
    """Returns the config of one seed's run: the recommended method's base model, and the few-shot phase."""
    config = runpy.run_path(str(record.ROOT / "configs" / "best.py"))["get_config"]()
    config.update_from_flattened_dict({
        "seed": seed, "data.seed": seed, "basic.objective": config.few_shot.base, "methods": ("ncm",),
        "protocol.orders": (0,),
        "few_shot.answers": ("class_mean",), "few_shot.shots": (SHOTS,), "few_shot.draws": DRAWS, **changes,
    })  # fmt: skip
    return config


def learned(workdir: pathlib.Path, found: dict) -> list[dict]:
    """Teaches each compound expression from each draw's pictures; returns accuracies beside the few-shot phase's."""
    model = trained.restore(workdir, trained.BASE)
    data, split = trained.load_data(model)
    fold, rows = fold_with_data(model, data, split), []

    def harmonic(known: float, new: float) -> float:
        return float(metrics.harmonic_mean(known, new))

    for row in found["few_shot"]["rows"]:
        name = row["class"]
        shots = drawn_shots(fold, data.class_names.index(name), row["shots"], row["draw"])
        new = taught.TaughtClass(name, (), (), data.image[shots])
        held_out = teach.learn(model, new, workdir, data, tell=lambda text: None).taught.learned["held_out"]
        of_new = held_out["classes"][name]["after"]
        rows.append({
            "class": name, "draw": row["draw"], "new": of_new, "known": held_out["after"],
            "known_before": held_out["before"], "harmonic": harmonic(held_out["after"], of_new),
            "few_shot": harmonic(row["base_accuracy"], row["new_class_accuracy"]),
        })  # fmt: skip
    return rows


def fold_with_data(model: trained.Trained, data, split) -> Fold:
    """Returns the fold of a restored model, which has no data, with them."""
    labels = jax.device_put(data.label)
    return dataclasses.replace(model.stored.fold, data=data, images=data.image, labels=labels, split=split)


def seconds(workdir: pathlib.Path) -> list[float]:
    """Times the command on a copy of a workdir: classes in a row, from files."""
    model = trained.restore(workdir, trained.BASE)
    data, split = trained.load_data(model)
    fold, taken = fold_with_data(model, data, split), []
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made) / "run"
        shutil.copytree(workdir, folder)
        first = ["--method", trained.BASE]
        for number in range(IN_A_ROW):
            pictures = pathlib.Path(made) / f"pictures{number}"
            pictures.mkdir()
            for i, row in enumerate(drawn_shots(fold, model.config.data.n_base + number, SHOTS, 0)):
                Image.fromarray(data.image[row]).save(pictures / f"{i}.png")
            command = ["teach", "--workdir", str(folder), *first, "--class", f"class {number}", "--cropped", "--json"]
            began = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "fer_jax", *command, str(pictures)], capture_output=True)
            taken.append(time.perf_counter() - began)
            if done.returncode:
                sys.exit(done.stderr.decode())
            folder, first = pathlib.Path(json.loads(done.stdout)["out"]), []
    return taken


def summary(rows: list[dict]) -> dict[str, dict]:
    """Returns estimates over base models of each measure, and of the difference to the few-shot phase."""
    measures = ("new", "known", "known_before", "harmonic", "few_shot")
    seeds = dict.fromkeys(row["seed"] for row in rows)
    by_seed = {seed: [row for row in rows if row["seed"] == seed] for seed in seeds}
    means = [{name: float(np.mean([row[name] for row in own])) for name in measures} for own in by_seed.values()]
    for one in means:
        one["difference"] = one["harmonic"] - one["few_shot"]
    return {name: dataclasses.asdict(metrics.estimate([one[name] for one in means])) for name in means[0]}


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--seeds", type=record.at_least(1), default=5, help="base models")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/teach"), metavar="DIR")
    parser.add_argument("--set", type=record.setting, action="append", default=[], metavar="KEY=JSON",
                        help="a key of the config")  # fmt: skip
    a, load = parser.parse_args(), record.load()
    changes = dict(a.set)
    console, rows, own = start_logging(), [], record.own_folder(a.workdir)
    with record.in_one_line(parser):
        for seed in range(record.FIRST_SEED, record.FIRST_SEED + a.seeds):
            config, workdir = settings(seed, changes), own / f"seed{seed}"
            found = experiment.train(config, workdir, console)
            log.info("seed %d: teaching %d classes", seed, len(found["few_shot"]["rows"]) // config.few_shot.draws)
            rows += [{"seed": seed, **row} for row in learned(workdir, found)]
        taken = seconds(own / f"seed{record.FIRST_SEED}")
    estimates = summary(rows)
    environment = record.environment(settings(0, changes).model.precision, load)
    asked = {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "shots": SHOTS, "draws": DRAWS, "changes": changes}
    record.write(
        a.out,
        {"settings": asked, "estimates": estimates, "seconds": taken, "rows": rows, "environment": environment},
    )
    for name, estimate in estimates.items():
        print(f"{name}: {record.words(estimate)}")
    print(f"seconds of the command, {IN_A_ROW} classes in a row: {', '.join(f'{one:.1f}' for one in taken)}")


if __name__ == "__main__":
    main()
