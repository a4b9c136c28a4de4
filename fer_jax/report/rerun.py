"""How to reproduce the results: the config as a file beside the page, and the command that uses it."""

import pathlib
import pprint
import shlex

from fer_jax.config import nested
from fer_jax.runs import files
from fer_jax.runs.remote import published
from fer_jax.runs.workdir import read as read_json
from fer_jax.sweeps.axes import as_text
from fer_jax.sweeps.cells import SWEEP

CONFIG = "config.py"


def write(results: dict, workdir: pathlib.Path, folder: pathlib.Path) -> str | None:
    """Writes config.py to the report's folder and returns the command; None for several workdirs merged."""
    if "merged" not in results:
        files.write(folder / CONFIG, config_file(results["config"]))
        return f"fer-jax train --config {shlex.quote(published(folder / CONFIG))} --workdir AGAIN"
    if not (workdir / SWEEP).exists():
        return None
    flat = read_json(workdir / SWEEP)
    over = flat.pop("over")
    files.write(folder / CONFIG, config_file(flat))
    axes = [f"--over {shlex.quote(as_text(name, values))}" for name, values in over]
    shots = ["--few-shot"] if flat["few_shot.shots"] else []
    command = ["fer-jax sweep --config", shlex.quote(str(folder / CONFIG)), "--workdir AGAIN", *axes, *shots]
    return " ".join(command)


def config_file(flat: dict) -> str:
    """Returns the text of a config file with the values of a flat config, the form in results.json."""
    text = pprint.pformat(nested(flat), width=110, sort_dicts=False)
    return (
        '"""The config of the run that this report is of, every value as it was used."""\n\n'
        "import ml_collections\n\n\n"
        "def get_config() -> ml_collections.ConfigDict:\n"
        f"    return ml_collections.ConfigDict(\n        {text.replace(chr(10), chr(10) + ' ' * 8)}\n    )\n"
    )
