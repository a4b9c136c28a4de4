"""Does a run that is killed at random moments end as one that was never disturbed?

Command: python -m studies.chaos --out docs/results/chaos.json     (make chaos)
Result:  docs/results/chaos.json
Time:    seven minutes on one core

Every kill is SIGKILL, after a time that is uniform from the process's start to a whole run's seconds, so some fall into
its start. A run that ends before its kill is compared, and another one is begun, until the kills are used up. The
comparison covers results.json, times aside, and every array of every checkpoint.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from fer_jax.runs.checkpoints import ASIDE, Checkpoints
from studies import record

SMOKE = pathlib.Path("configs/smoke.py")


def without_times(value):
    """Results without what may differ between two runs of the same config: all that is named seconds."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    if isinstance(value, list):
        return [without_times(v) for v in value]
    return value


def arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of every checkpoint that counts: parameters, optimizer, memory."""
    found = {}
    for folder in sorted((workdir / "checkpoints").rglob("state")):
        if folder.parent.parent.name == ASIDE:
            continue
        step = folder.parent
        with Checkpoints(step.parent) as checkpoints:
            arrays = checkpoints.arrays(int(step.name))
        found |= {f"{step.relative_to(workdir)}{name}": array for name, array in arrays.items()}
    return found


def same(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether two finished workdirs hold the same results and the same checkpoints, bit for bit."""
    first, second = (without_times(json.loads((workdir / "results.json").read_text())) for workdir in (a, b))
    ours, theirs = arrays(a), arrays(b)
    if first != second or ours.keys() != theirs.keys():
        return False
    # By their bytes: logits that were not recorded are NaN, which equals nothing.
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in ((ours[k], theirs[k]) for k in ours))


class Victim:
    """The command on one config, in one workdir at a time."""

    def __init__(self, config: pathlib.Path, overrides: list[str], save_every: float):
        self._rest = ["--config", str(config), "--save-every", str(save_every), *overrides]

    def start(self, workdir: pathlib.Path, log: pathlib.Path) -> subprocess.Popen:
        """Starts it; what it says goes to `log`."""
        command = [sys.executable, "-m", "fer_jax.cli.main", "train", "--workdir", str(workdir), *self._rest]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("w"))

    def run(self, workdir: pathlib.Path, log: pathlib.Path) -> None:
        """To the end, undisturbed.

        Raises:
          RuntimeError: it failed.
        """
        if self.start(workdir, log).wait():
            raise RuntimeError(f"the run failed: {log.read_text().splitlines()[-1]}")


def torment(victim: Victim, kills: int, seed: int, folder: pathlib.Path, told=lambda row: None) -> list[dict]:
    """Kills a run at random moments, as often as asked.

    Returns:
      a row a kill: after how many seconds, what the run last said, checkpoints that were there before and after, and,
      for the kill that was the last of its workdir, whether that workdir ended as the undisturbed one.

    Raises:
      RuntimeError: the run failed by itself.
    """
    generator, log = random.Random(seed), folder / "log.txt"
    began = time.monotonic()
    victim.run(folder / "undisturbed", log)
    usual = time.monotonic() - began
    rows: list[dict] = []
    number, killed = 0, False
    while len(rows) < kills:
        workdir, began = folder / f"tormented{number}", time.monotonic()
        process = victim.start(workdir, log)
        before, seconds = _steps(workdir), generator.uniform(0, usual)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            lines = log.read_text().splitlines()
            doing = lines[-1][9:] if lines else "starting"
            rows.append({"after": seconds, "doing": doing, "steps_before": before, "steps": _steps(workdir)})
            told(rows[-1])
            killed = True
            continue
        if code:
            raise RuntimeError(f"the run failed by itself: {log.read_text().splitlines()[-1]}")
        number += 1
        if not before:  # a whole run: the machine may have become faster or slower
            usual = time.monotonic() - began
        if killed:  # else the last row is of an earlier workdir
            rows[-1]["same"] = same(workdir, folder / "undisturbed")
        killed = False
    last = folder / f"tormented{number}"
    victim.run(last, log)
    rows[-1]["same"] = same(last, folder / "undisturbed")
    return rows


def _steps(workdir: pathlib.Path) -> int:
    return sum(p.name.isdigit() for p in (workdir / "checkpoints").glob("**/*") if ".now" not in p.parent.name)


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.add_argument("--config", type=pathlib.Path, default=SMOKE, metavar="FILE")
    parser.add_argument("--kills", type=record.at_least(1), default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=float, default=0.5, metavar="SECONDS")
    a = parser.parse_args()
    console, load = Console(), record.load()
    with tempfile.TemporaryDirectory() as folder, console.status("running undisturbed") as status:
        count = [0]

        def told(row):
            count[0] += 1
            status.update(f"{count[0]} of {a.kills} kills")

        rows = torment(Victim(a.config, [], a.save_every), a.kills, a.seed, pathlib.Path(folder), told)
    table = Table("kill", "after, s", "finished steps", "it was doing", "ended the same")
    for number, row in enumerate(rows, 1):
        ended = {None: "", True: "yes, bit for bit", False: "NO"}[row.get("same")]
        steps = f"{row['steps_before']} → {row['steps']}"
        table.add_row(str(number), f"{row['after']:.1f}", steps, row["doing"][:60], ended)
    console.print(table)
    settings = {"kills": a.kills, "seed": a.seed, "save_every": a.save_every, "config": str(a.config)}
    record.write(a.out, {"settings": settings, "rows": rows, "environment": record.environment("auto", load)})
    if not all(row.get("same", True) for row in rows):
        sys.exit("a run did not end as the undisturbed one")


if __name__ == "__main__":
    main()
