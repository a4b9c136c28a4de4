"""One batch over several devices: the same batches, losses and answers, and what it costs.

On the CPU devices are virtual and share the cores, so that more of them only cost; each number needs a process of its
own: python -m fer_jax.bench.devices FILE [--quick]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import config as configs
from fer_jax import rng
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import Warm, warm
from fer_jax.bench.world import Epochs, Phase, fold_of, noise
from fer_jax.config.file import read_config
from fer_jax.errors import UserError
from fer_jax.objectives import Context, Objective, Outputs
from fer_jax.runs.environment import prepare_environment
from fer_jax.training.batch import ordered
from fer_jax.training.epoch import run_epoch
from fer_jax.training.step import TrainState

VIRTUAL = (1, 2, 4, 8)


def here(config, quick: bool, devices: int) -> dict:
    """Trains some epochs on so many devices of this process; returns losses, answers, batches and times."""
    fold = fold_of(config, noise(config, max(config.protocol.n_folds, 10) if quick else None))
    phase = Phase(fold)
    epochs = Epochs(phase, phase.select(), dataclasses.replace(phase.part.recipe, n_devices=devices))
    first = warm(epochs)
    seconds = []
    for _ in range(3 if quick else 6):
        began = time.perf_counter()
        jax.block_until_ready(epochs())
        seconds.append(time.perf_counter() - began)
    recipe = epochs.recipe
    rounded = Epochs(phase, phase.select(), recipe)
    rounded.state = one_rounding_away(rounded.state)
    for _ in epochs.losses:
        rounded()
    one = arithmetic.step(fold.network, fold.images.shape[1], recipe.cut, recipe.batch_size, epochs.kind)
    return {
        "devices": devices,
        "there": jax.device_count(),
        "seconds": seconds,
        "warm": first._asdict(),
        "images": epochs.images,
        "multiply_adds": one * epochs.steps,
        "by_xla": epochs.by_xla(),
        "losses": epochs.losses,
        "losses_rounded": rounded.losses,
        "confusion": epochs.confusion().tolist(),
        "batches": batches_read(epochs),
        "settings": described(fold, recipe.batch_size),
    }


def one_rounding_away(state: TrainState) -> TrainState:
    """Returns the state with every trained weight as the next larger number: as far as roundings alone lead."""
    return state._replace(trainable=jax.tree.map(lambda x: jnp.nextafter(x, jnp.inf), state.trainable))


def batches_read(epochs: Epochs) -> list[float]:
    """Returns for every batch of an epoch the sum of what its devices read, with one number for each image.

    Raises:
      AssertionError: they read other images than those of the batch.
    """
    recipe = dataclasses.replace(epochs.recipe, objective=Objective.of(_number))
    facts = epochs.source.facts
    # Below 2¹⁶, so that sums are exact.
    numbers = jax.random.randint(rng.derive(0, "numbers"), facts.labels.shape, 0, 2**16)
    source = epochs.source.replace(facts=facts._replace(labels=numbers))
    key = jax.random.fold_in(rng.derive(0, "epoch", 0), 0)
    order, _ = ordered(key, epochs.pool, recipe.batch_size)
    read = []
    for batch in np.asarray(order)[: epochs.images].reshape(epochs.steps, -1):
        state = jax.tree.map(jnp.copy, epochs.state)
        _, row = run_epoch(state, source, jnp.asarray(batch), epochs.context, key, recipe)
        mean = row["loss"]
        assert mean == float(np.asarray(numbers)[batch].mean()), "the devices read other images than the batch has"
        read.append(mean)
    return read


def _number(outputs: Outputs, context: Context) -> jax.Array:
    return outputs.labels.astype(jnp.float32)


def on_virtual(made_from: tuple[str, ...], quick: bool, devices: int) -> dict:
    """Runs `here` in a new process with so many virtual devices.

    Args:
      made_from: the config's file, and overrides.

    Raises:
      UserError: it failed; its last line.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "fer_jax.bench.devices", *made_from, *(["--quick"] if quick else [])]
    done = subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        raise UserError(f"bench devices: the process of {devices} virtual devices failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the times, losses and answers for each number of devices."""
    if jax.default_backend() == "cpu":
        rows = [on_virtual(bench.small_from, bench.quick, n) for n in (VIRTUAL[:2] if bench.quick else VIRTUAL)]
    else:
        rows = [here(bench.small, bench.quick, n) for n in sorted({1, jax.device_count()})]
    for row in rows:
        first = rows[0]
        yield bench.record(
            "devices",
            {"devices": row["devices"], "virtual": jax.default_backend() == "cpu", **row["settings"]},
            row["images"], row["seconds"], Warm(**row["warm"]),
            # Virtual devices share the cores.
            arithmetic.Work(
                row["multiply_adds"], row["by_xla"], 1 if jax.default_backend() == "cpu" else row["devices"]
            ),
            same_batches=row["batches"] == first["batches"],
            differences_in_loss=np.abs(np.subtract(row["losses"], first["losses"])).tolist(),
            differences_by_rounding=np.abs(np.subtract(row["losses_rounded"], row["losses"])).tolist(),
            same_answers=row["confusion"] == first["confusion"],
        )  # fmt: skip


def main() -> None:
    """Runs `here` for the config and the devices named on the command line, and prints the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    a, rest = parser.parse_known_args()
    prepare_environment()
    config = configs.resolve(read_config([f"--config={a.config}", *rest]))
    print(json.dumps(here(config, a.quick, jax.device_count())))


if __name__ == "__main__":
    main()
