"""Commands on a workdir in an object store."""

import pathlib

import numpy as np
import pytest
from PIL import Image

import fer_jax as fj
from fer_jax.cli import main
from fer_jax.runs import mirror
from tests.support.stores import MEMORY, emptied

ROOT = pathlib.Path(__file__).parents[2]
SMOKE, FACES, RUN = str(ROOT / "configs" / "smoke.py"), str(ROOT / "docs" / "faces.png"), f"{MEMORY}/runs/tiny"


@pytest.fixture
def store(tiny_run, tmp_path, monkeypatch):
    """The memory file system with a finished run."""
    monkeypatch.setenv(mirror.FOLDER, str(tmp_path / "here"))
    there = emptied()
    with mirror.working(RUN) as (folder, _):
        for path in tiny_run.rglob("*"):
            if path.is_file():
                (folder / path.relative_to(tiny_run)).parent.mkdir(parents=True, exist_ok=True)
                (folder / path.relative_to(tiny_run)).write_bytes(path.read_bytes())
    return there


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, and what went to stdout and stderr."""
    try:
        code = main.main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    there = capsys.readouterr()
    return code, there.out, there.err


def test_a_finished_run_is_read_from_there(capsys, store, tiny_run, tmp_path):
    before = {path: store.modified(path) for path in store.find("/b") if "/report/" not in path}
    assert run(capsys, "report", "--workdir", RUN)[:2] == (0, f"report:  {RUN}/report/index.html\n")
    assert f"--config {RUN}/report/config.py" in store.cat_file("/b/runs/tiny/report/index.html").decode()
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "face.png")
    picture = ("--cropped", "--json", str(tmp_path / "face.png"))
    answers = [run(capsys, "predict", "--workdir", workdir, *picture) for workdir in (RUN, str(tiny_run))]
    assert answers[0][0] == 0
    assert answers[0][1] == answers[1][1]
    ours, theirs = fj.load_run(RUN), fj.load_run(tiny_run)
    assert ours.results == theirs.results
    assert ours.memory("kd_psmr").keys() == theirs.memory("kd_psmr").keys()
    # Reading changes nothing there, and the report is all that was written.
    assert before == {path: store.modified(path) for path in store.find("/b") if "/report/" not in path}


def test_train_again_finds_everything_done(capsys, store, tiny_config):
    train = ("train", "--config", SMOKE, "--workdir", RUN, f"--config.data.dir={tiny_config.data.dir}")
    before = {path: store.modified(path) for path in store.find("/b")}
    code, out, err = run(capsys, *train)
    assert (code, out) == (0, f"results: {RUN}/results.json\nreport:  {RUN}/report/index.html\n"), err
    after = {path: store.modified(path) for path in store.find("/b")}
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {
        path for path in after if "/tensorboard/" in path or "/report/" in path
    }


@pytest.mark.parametrize(("arguments", "said"), [
    (("train", "--config", SMOKE, "--workdir", "nowhere://b/run"), "--workdir nowhere://b/run: Protocol not known"),
    (("sweep", "--config", SMOKE, "--over", "seed=0,1", "--workdir", RUN), "sweep: argument --workdir: is memory://"),
    (("teach", "--workdir", RUN, "--class", "new", "a.png"), "teach: argument --workdir: is memory://b/runs/tiny, and"),
    (("serve", "--workdir", RUN), "serve: argument --workdir: is memory://b/runs/tiny, and may be on"),
    (("export", "--workdir", RUN, "--format", "onnx", "--out", "gs://b/x"), "export: argument --out: is gs://b/x"),
    (("report", "--workdir", RUN, "--workdir", "runs/b"), f"--workdir {RUN} is reported by itself; several are merged"),
    (("predict", "--workdir", f"{MEMORY}/none", FACES), f"--workdir {MEMORY}/none is not that of a run"),
])  # fmt: skip
def test_a_mistake_is_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setenv(mirror.FOLDER, str(tmp_path))
    emptied()
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"fer-jax: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_a_copy_names_the_store(capsys, tmp_path):
    emptied().pipe_file("/b/run/config.json", b"{}")
    code, _, err = run(capsys, "report", "--workdir", f"{MEMORY}/run")
    assert (code, err) == (
        2,
        f"fer-jax: --workdir {MEMORY}/run has no results.json; `fer-jax train` writes it when it ends\n",
    )
