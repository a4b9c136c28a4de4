"""An experiment: the three phases in order, for every fold; what is done already is not done again."""

import json
import os
import pathlib

import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import methods, protocol, replay, results
from fer_jax.data.load import load
from fer_jax.models import backbones
from fer_jax.phases import basic, continual, few_shot
from fer_jax.phases.setup import Setup, build_network
from fer_jax.progress import Progress, log
from fer_jax.report import page


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path, console=None) -> dict:
    """Runs `config` in `workdir` and writes results.json and report/index.html there.

    Checkpoints make it repeatable: the same call goes on where the last one stopped.

    Raises:
      ConfigError: a config that cannot be run, or a workdir of another config; nothing is written then.
      UserError: weights that cannot be read or are another network's; nothing is written then.
    """
    configs.check(config)
    config = configs.resolve(config)
    resumed = claim(workdir, config, write=False)
    weights = backbones.load_weights(config.model)
    data = load(config.data)
    n_new = len(data.class_names) - config.data.n_base
    orders = protocol.class_orders(n_new, config.protocol.n_orders, config.protocol.order_seed)
    network = build_network(config, len(data.class_names))
    splits = {
        fold: protocol.split(data.subject, fold, config.protocol.n_folds, config.protocol.name)
        for fold in config.protocol.folds
    }
    for fold, split in splits.items():
        _check_split(data, fold, split)
        _check_memory(config, len(data.class_names), fold, split)
    claim(workdir, config, write=True)
    if resumed:
        log.info("going on in %s with what is finished there", workdir)
    images, labels = jnp.asarray(data.image), jnp.asarray(data.label)
    with Progress(workdir, console) as progress:
        setups = {
            fold: Setup(config, data, network, images, labels, fold, split, workdir / "checkpoints", progress, weights)
            for fold, split in splits.items()
        }
        progress.plan(work(config, setups, orders))
        phases = run_phases(config, setups, orders)
    found = results.assemble(config, data, phases, orders)
    results.write_json(workdir / "results.json", found)
    page.write(workdir)
    return found


def run_phases(config, setups: dict[int, Setup], orders: np.ndarray) -> list[dict]:
    """The base task of every fold, then increments and few shots of the folds that go on."""
    based = {fold: basic.run(setup) for fold, setup in setups.items()}
    measured = []
    for fold, (params, found) in based.items():
        phase = {"fold": fold, "basic": found, "continual": {}, "few_shot": []}
        if fold in _continued(config, based):
            for name in config.methods:
                method = methods.METHODS[name]
                phase["continual"][name] = [
                    continual.run(setups[fold], params, method, o, order) for o, order in enumerate(orders)
                ]
            phase["few_shot"] = few_shot.run(setups[fold], params)
        measured.append(phase)
    return measured


def _continued(config, based: dict[int, tuple]) -> list[int]:
    """The folds whose base model goes on: all, or as the published code has it the best one."""
    if config.protocol.name == "published":
        return [max(based, key=lambda fold: based[fold][1]["validation_accuracy"])]
    return list(based)


def claim(workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, write: bool) -> bool:
    """Checks that a workdir is empty or of this very config, and marks it so when `write` is set.

    Returns:
      whether a run was begun there before.

    Raises:
      ConfigError: it is of another config (the differences are listed), or it holds something else.
    """
    path, wanted = workdir / "config.json", configs.flatten(config)
    if workdir.exists() and not workdir.is_dir():
        raise configs.ConfigError(f"--workdir {workdir} is a file; it may be a folder, new or of the same config")
    if path.exists():
        try:
            there = json.loads(path.read_text())
        except ValueError as error:
            raise configs.ConfigError(f"{path} is not readable as JSON ({error})") from None
        if not isinstance(there, dict):
            raise configs.ConfigError(f"{path} is not a config of fer_jax; it may be what fer-jax train wrote there")
        wanted = json.loads(json.dumps(wanted))
        different = [
            f"{key} {there.get(key, 'missing')!r} there, {wanted.get(key, 'missing')!r} here"
            for key in sorted(there.keys() | wanted.keys())
            if there.get(key, KeyError) != wanted.get(key, KeyError)
        ]
        if different:
            raise configs.ConfigError(
                f"--workdir {workdir} is of another config: {'; '.join(different)}; take another folder or that config"
            )
        return True
    if workdir.is_dir() and any(workdir.iterdir()):
        raise configs.ConfigError(
            f"--workdir {workdir} holds other files; it may be a new or empty folder, or one of the same config"
        )
    _check_writable(workdir)
    if write:
        workdir.mkdir(parents=True, exist_ok=True)
        results.write_json(path, wanted)
    return False


def _check_writable(workdir: pathlib.Path) -> None:
    there = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
    if not there.is_dir():
        raise configs.ConfigError(f"--workdir {workdir} lies under {there}, which is a file; it may be under a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise configs.ConfigError(f"--workdir {workdir}: {there} cannot be written to; it may be a folder of your own")


def work(config, setups: dict[int, Setup], orders: np.ndarray) -> int:
    """Images that the whole run passes through at most, epochs counted."""
    a_fold = [
        sum(sum(continual.work(setup, methods.METHODS[name], order)) for name in config.methods for order in orders)
        + sum(few_shot.work(setup))
        for setup in setups.values()
    ]
    # The published code goes on with one fold only, known after the base task; folds weigh nearly the same.
    later = a_fold[0] if config.protocol.name == "published" else sum(a_fold)
    return sum(basic.work(setup) for setup in setups.values()) + later


def _check_memory(config, n_classes: int, fold: int, split: protocol.Split) -> None:
    m = config.memory
    least = min(
        replay.exemplars_per_class(
            len(split.train), n_classes, config.data.n_base, i, m.mode, config.protocol.name, m.share
        )
        for i in range(n_classes - config.data.n_base)
    )
    if least < 1:
        raise configs.ConfigError(
            f"config.memory.share is {m.share}; of {len(split.train)} training images in fold {fold} that is less than "
            f"one a class; it may be from {n_classes / len(split.train):.4f}"
        )


def _check_split(data, fold: int, split: protocol.Split) -> None:
    for name in ("train", "validation", "test"):
        counts = np.bincount(data.label[getattr(split, name)], minlength=len(data.class_names))
        if not counts.all():
            raise configs.ConfigError(
                f"fold {fold} has no {name} images of {data.class_names[int(counts.argmin())]}; "
                "fewer config.protocol.n_folds may help"
            )
