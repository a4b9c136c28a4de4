"""What the studies of related systems share: their command, parts that are not done twice, and verdicts.

A study is a `Study`: a function that measures one seed, and statements about what it returns. Seeds are paired: each
has people of its own (of files, a fold of its own), and the arms of a seed share all that they do not compare.
A statement is an inequality. It holds if the 95 % interval over seeds of its value lies beyond its bound, does
not hold if the interval lies on the other side, and else one cannot tell. A study's claim holds if all of its claims
and controls hold, and does not hold if one of its claims does not. If only a control fails, one cannot tell.

Every part of a seed (a training, an arm's figures) is saved as it is finished, in a folder named by the settings and
the code of the study: the same command again goes on there. `learning` has pictures and training.
"""

import argparse
import dataclasses
import functools
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import numpy as np
from PIL import Image

from fer_jax import metrics
from fer_jax.runs.progress import log, start_logging
from fer_jax.runs.workdir import locked
from studies import record


@dataclasses.dataclass(frozen=True)
class Statement:
    """Words, a number of a seed's row, and the bound that the number lies above or below; in shares, not percent."""

    words: str
    of: Callable[[Mapping[str, float]], float]
    above: float | None = None
    below: float | None = None

    def judged(self, rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
        """Returns words, bound, estimate and verdict; None where a row lacks what it needs, as those of files may."""
        try:
            found = metrics.estimate([self.of(row) for row in rows])
        except KeyError:
            return None
        bound = self.below if self.above is None else self.above
        sides = (found.low > bound, found.high < bound)
        right, wrong = sides if self.above is not None else sides[::-1]
        verdict = "holds" if right else "does not hold" if wrong else "cannot tell"
        limit = {"above" if self.above is not None else "below": bound}
        return {"words": self.words, **limit, "estimate": dataclasses.asdict(found), "verdict": verdict}


@dataclasses.dataclass(frozen=True)
class Work:
    """One seed's work: its settings, and the folder of its finished parts."""

    seed: int
    settings: argparse.Namespace
    folder: pathlib.Path
    console: Any = None

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns what `make` returned when it was first called by this name: arrays and numbers in dicts and lists."""
        file = self.folder / f"{name}.msgpack"
        if not file.exists():
            began = time.perf_counter()
            self.folder.mkdir(parents=True, exist_ok=True)
            partly = file.with_suffix(".part")
            partly.write_bytes(flax.serialization.msgpack_serialize(jax.device_get(make())))
            os.replace(partly, file)
            log.info("seed %d: %s, %.0f s", self.seed, name, time.perf_counter() - began)
        return flax.serialization.msgpack_restore(file.read_bytes())


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of one system.

    name: of its file. system, paper, claim: what docs/related.md says of it.
    measure: returns a seed's row, numbers by name.
    claims, controls: what must be so if the paper is right, and what must be so if the measurement is no sham.
    shown: the numbers of a row that the table shows, with their words; percent: whether they are shares.
    options: the defaults of its numbers, by option.
    picture: returns rows of pictures u8[H, W, 3] of the first seed, and what they show.
    ceilings: the best that is possible, by words.
    """

    name: str
    system: str
    paper: str
    claim: str
    measure: Callable[[Work], dict[str, float]]
    claims: tuple[Statement, ...]
    controls: tuple[Statement, ...]
    shown: Mapping[str, str]
    options: Mapping[str, Any]
    percent: bool = True
    picture: Callable[[Work], tuple[list[np.ndarray], str]] | None = None
    ceilings: Callable[[], dict[str, float]] = dict
    takes_files: bool = False


def main(study: Study, doc: str) -> None:
    """Runs a study's command: measures, writes JSON to `--out`, a picture beside it, and tells."""
    parser = record.command(doc)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--seeds", type=record.at_least(1), default=5)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/related"), metavar="DIR")
    for name, default in study.options.items():
        many = {"nargs": "+"} if isinstance(default, tuple) else {}
        kind = type(default[0] if many else default)
        parser.add_argument(f"--{name}", type=record.at_least(kind(0)), default=default, **many)
    if study.takes_files:
        parser.add_argument(
            "--config", metavar="FILE", help="a config whose config.data is measured, not rendered faces"
        )
    a, before = parser.parse_args(), record.load()
    for name, value in vars(a).items():
        setattr(a, name, tuple(value) if isinstance(value, list) else value)  # networks are compiled in: hashable
    with record.in_one_line(parser):
        found = run(study, a, start_logging())
    if study.picture:
        rows, caption = study.picture(_work(study, a, record.FIRST_SEED, None))
        a.out.parent.mkdir(parents=True, exist_ok=True)
        save_sheet(rows, a.out.with_suffix(".png"))
        found["picture"] = caption
    record.write(a.out, {**found, "environment": record.environment("float32", before)})
    for one in (*found["claims"], *found["controls"]):
        print(f"{one['verdict']}: {one['words']}: {record.words(one['estimate'])}")
    print(f"{study.system}: {found['verdict']}")


def run(study: Study, a: argparse.Namespace, console=None) -> dict[str, Any]:
    """Measures all seeds, and judges them.

    Raises:
      UserError: the data set that `--config` names cannot be read, or another process is at work in the folder.
    """
    folder = _work(study, a, record.FIRST_SEED, console).folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        works = [_work(study, a, seed, console) for seed in range(record.FIRST_SEED, record.FIRST_SEED + a.seeds)]
        rows = [work.once("row", functools.partial(study.measure, work)) for work in works]
    settings = {"seeds": a.seeds, "first_seed": record.FIRST_SEED, **_settings(study, a)}
    ceilings = {} if settings.get("config") else study.ceilings()  # those of the table of units
    return {**judged(study, rows), "ceilings": ceilings, "settings": settings}


def judged(study: Study, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Returns what a study's rows say."""
    claims, controls = (
        [one for statement in statements if (one := statement.judged(rows))]
        for statements in (study.claims, study.controls)
    )
    of_claims = {one["verdict"] for one in claims}
    held = of_claims | {one["verdict"] for one in controls} == {"holds"}
    return {
        "system": study.system, "paper": study.paper, "claim": study.claim, "percent": study.percent,
        "verdict": "does not hold" if "does not hold" in of_claims else "holds" if held else "cannot tell",
        "shown": {key: words for key, words in study.shown.items() if key in rows[0]},
        "estimates": {key: dataclasses.asdict(metrics.estimate([row[key] for row in rows])) for key in rows[0]},
        "claims": claims, "controls": controls, "rows": rows,
    }  # fmt: skip


def _settings(study: Study, a: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(a, name) for name in (*study.options, *(["config"] if study.takes_files else []))}


def _work(study: Study, a: argparse.Namespace, seed: int, console) -> Work:
    code = [pathlib.Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("common", "learning", study.name)]
    digest = hashlib.sha256(repr(sorted(_settings(study, a).items())).encode() + b"".join(code)).hexdigest()[:12]
    return Work(seed, a, record.own_folder(a.workdir) / study.name / digest / f"seed{seed}", console)


def save_sheet(rows: list[np.ndarray], path: pathlib.Path, scale: int = 2) -> None:
    """Saves rows of pictures u8[n, H, W, 3], of the same n, as one picture, each pixel `scale` pixels wide."""
    whole = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(whole.repeat(scale, 0).repeat(scale, 1)).save(path, optimize=True)
