"""How long do the commands take that a user waits for: help, a mistake, and those on a finished run?

Command: python -m studies.using --out docs/results/using.json     (make using)
Result:  docs/results/using.json
Time:    four minutes on two cores

On the quickstart's workdir, which `make results` leaves. A command is started as a process of its own and timed by the
clock, imports included; the median of several runs counts. Only `predict_cold` compiles; the others find the programs
that a command before them compiled. What is warm runs here, after a first call.
The clock suffers from whatever else the machine does, which `load_before` tells.
"""

import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from PIL import Image

from fer_jax.errors import EXIT_MISTAKE
from fer_jax.explain import maps as explain
from fer_jax.inference import predict, trained
from studies import record
from studies.record import seconds, summary

CONFIG = pathlib.Path("configs/quickstart.py")  # of the workdir
COLD, WARM = 3, 20  # runs
GRAD_CAM = 512  # images a run
BATCH = 64


def second(*arguments: str | pathlib.Path, code: int = 0) -> dict:
    """Seconds of a command after a first time, which compiles."""
    seconds(*arguments, code=code)
    return summary([seconds(*arguments, code=code) for _ in range(COLD)])


def figures(workdir: pathlib.Path, folder: pathlib.Path) -> dict[str, dict]:
    """Seconds of each command that draws the paper's figures."""
    name = trained.restore(workdir).known_names[-1]
    commands = {
        "explain": ("explain", "--workdir", workdir, "--out", folder),
        "explain --variant plain": ("explain", "--workdir", workdir, "--out", folder, "--variant", "plain"),
        f"explain --class {name!r}": ("explain", "--workdir", workdir, "--out", folder, "--class", name),
    }
    return {said: summary([seconds(*command)]) for said, command in commands.items()}


def start_up(workdir: pathlib.Path, picture: pathlib.Path, folder: pathlib.Path) -> dict[str, dict]:
    """Seconds of what should feel like nothing."""
    train = ("train", "--config", CONFIG, "--workdir")
    ask = ("predict", "--workdir", workdir, picture)
    export = ("export", "--workdir", workdir, "--format", "onnx", "--out")
    return {
        "help_seconds": second("--help"),
        "mistake_seconds": second(*train, folder / "none", "--config.seeed=1", code=EXIT_MISTAKE),
        "predict_cold_seconds": summary([seconds(*ask, "--no-compilation-cache") for _ in range(COLD)]),
        "predict_seconds": second(*ask),
        "finished_train_seconds": second(*train, workdir),
        "onnx_seconds": summary([seconds(*export, folder / f"onnx{i}") for i in range(COLD)]),
    }


def warm_predictions(predictor: predict.Predictor, picture: pathlib.Path) -> list[float]:
    """Seconds of one picture after the first, face found, cut and answered."""
    found = []
    for _ in range(1 + WARM):
        began = time.perf_counter()
        list(predict.answers(predictor, [picture]))
        found.append(time.perf_counter() - began)
    return found[1:]


def grad_cam_rates(model: trained.Trained) -> list[float]:
    """Images a second in batches, after the first."""
    size, known = model.image_size, np.flatnonzero(model.class_mask)
    images = jax.random.uniform(jax.random.key(0), (BATCH, size, size, 3))
    classes = jnp.asarray(np.resize(known, BATCH))
    layer = explain.default_layer(model.network, size)
    found = []
    for _ in range(1 + COLD):
        began = time.perf_counter()
        for _ in range(GRAD_CAM // BATCH):
            explain.grad_cam(model.params, images, classes, model.network, layer).block_until_ready()
        found.append(GRAD_CAM / (time.perf_counter() - began))
    return found[1:]


def measure(workdir: pathlib.Path) -> dict:
    """Returns all of it."""
    load = record.load()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        picture = folder / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(picture)
        found = {
            "load_before": load,
            "figures_seconds": figures(workdir, folder / "figures"),
            **start_up(workdir, picture, folder),
            "report_seconds": summary([seconds("report", "--workdir", workdir)]),
            "report_megabytes": (workdir / "report" / "index.html").stat().st_size / 1e6,
        }
        model = trained.restore(workdir)
        found["predict_warm_seconds"] = summary(warm_predictions(predict.build(model), picture))
        found["grad_cam_images_per_second"] = summary(grad_cam_rates(model))
    return {**found, "environment": record.environment("auto", load)}


def main() -> None:
    """Measures, writes JSON to `--out`, and prints it."""
    parser = record.command(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/results"), metavar="DIR")
    a = parser.parse_args()
    found = measure(a.workdir)
    record.write(a.out, found)
    for name, value in found.items():
        if name != "environment":
            print(name, value)


if __name__ == "__main__":
    main()
