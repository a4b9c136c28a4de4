"""Where scalars and results go: to one tracker, which cannot harm the run."""

import json
import pathlib
import re
import sys
import types

import pytest
from tensorboardX import record_writer

from fer_jax.errors import UserError
from fer_jax.runs import progress, trackers
from tests.support.events import scalar_tags
from tests.support.file_systems import file_system

RESULTS = {"continual": {"icarl (network)": {"metrics": {"final_accuracy": {"mean": 0.5, "n": 2}}}}}
CONFIG = {"seed": 3, **{f"model.key{i}": i for i in range(150)}}


class Noted:
    """A user's own tracker, named by its dotted path: notes its calls in a file of the workdir."""

    def begin(self, workdir, config):
        self.path = workdir / "noted.jsonl"
        self._note("begin", config["seed"])

    def scalars(self, values, step):
        self._note("scalars", [values, step])

    def end(self, results):
        self._note("end", results and sorted(results["continual"]))

    def _note(self, call, what):
        with self.path.open("a") as file:
            file.write(json.dumps([call, what]) + "\n")


class Failing(Noted):
    def scalars(self, values, step):
        super().scalars(values, step)
        raise RuntimeError("no such service\nat all")


def own(monkeypatch, **makers) -> None:
    module = types.ModuleType("own_trackers")
    vars(module).update(makers)
    monkeypatch.setitem(sys.modules, "own_trackers", module)


def calls(workdir: pathlib.Path) -> list:
    return [json.loads(line) for line in (workdir / "noted.jsonl").read_text().splitlines()]


def track(tracker, workdir: pathlib.Path, n: int = 2, results=RESULTS) -> None:
    """What a run does with its tracker."""
    workdir.mkdir(exist_ok=True)
    with trackers.Tracked(tracker) as tracked:
        with progress.Progress(tracked.begin(workdir, CONFIG)) as p:
            for step in range(n):
                p.scalars("basic/fold0", step, {"loss": 0.5, "accuracy": 0.25})
        if results:
            tracked.end(results)


def test_a_users_own_tracker_gets_the_config_every_scalar_and_the_results(tmp_path, monkeypatch):
    own(monkeypatch, Noted=Noted)
    track("own_trackers.Noted", tmp_path)
    row = {"basic/fold0/loss": 0.5, "basic/fold0/accuracy": 0.25}
    assert calls(tmp_path) == [
        ["begin", 3], ["scalars", [row, 0]], ["scalars", [row, 1]], ["end", ["icarl (network)"]]
    ]  # fmt: skip


def test_the_tracker_of_the_page_is_one(tmp_path, monkeypatch, capsys):
    page = pathlib.Path(__file__).parents[2] / "docs" / "trackers.md"
    (text,) = re.findall(r"<!-- file: mine.py -->\n```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(text, str(page), "exec"), names)
    own(monkeypatch, Printer=names["Printer"])
    track("own_trackers.Printer", tmp_path / "run", n=1)
    assert capsys.readouterr().out.splitlines() == [
        "begin run seed 3", "basic/fold0/loss 0 0.5", "basic/fold0/accuracy 0 0.25", "end ['icarl (network)']"
    ]  # fmt: skip


def test_a_run_that_did_not_finish_ends_without_results(tmp_path):
    track(Noted(), tmp_path, results=None)
    assert calls(tmp_path)[-1] == ["end", None]


def test_a_tracker_that_fails_is_warned_of_once_and_let_go(tmp_path, logged):
    track(Failing(), tmp_path, n=5)
    assert [call for call, _ in calls(tmp_path)] == ["begin", "scalars", "end"]
    told = {record.getMessage() for record in logged.records}
    assert told == {"the tracker Failing failed (no such service); the run goes on without it"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "'tensorbord' does not exist; it may be one of tensorboard, mlflow, wandb, or the dotted path"),
        ("os.path.join", "--tracker is 'os.path.join', which makes no tracker (TypeError: join() missing 1 required"),
        ("own_trackers.gone", "module own_trackers has no gone"),
        (
            "own_trackers.dict",
            "the tracker 'own_trackers.dict' has no method begin; it may have begin, scalars and end",
        ),
    ],
)
def test_a_tracker_that_cannot_be_is_a_mistake(monkeypatch, name, said):
    own(monkeypatch, dict=dict)
    with pytest.raises(UserError) as error:
        trackers.Tracked(name)
    assert said in str(error.value)


def test_a_missing_package_is_a_mistake(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb"):
        trackers.Tracked("wandb")


def test_tensorboard_has_every_scalar(tmp_path):
    track("tensorboard", tmp_path)
    assert scalar_tags(tmp_path / "tensorboard") == {"basic/fold0/loss", "basic/fold0/accuracy"}


@pytest.mark.parametrize("at", ["open", "write", "flush", "close"])
def test_a_full_disk_costs_the_scalars_alone(tmp_path, monkeypatch, logged, at):
    """Said once, however many there are."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    if at == "open":
        monkeypatch.setattr(record_writer, "open_file", full)
    else:
        monkeypatch.setattr(record_writer.RecordWriter, at, full)
        monkeypatch.setattr(trackers.TensorBoard, "_flush_every", 0.0)
    track("tensorboard", tmp_path, n=50)
    assert warned(logged) == [
        "the tracker TensorBoard failed ([Errno 28] No space left on device); the run goes on without it"
    ]


def test_scalars_on_a_disk_that_is_full(tmp_path, logged):
    with file_system(tmp_path / "disk", "size=8k") as disk:
        track("tensorboard", disk, n=2000)
    assert len(warned(logged)) == 1


def warned(logged) -> list[str]:
    """What was said; pytest may have a record twice, the logger's own handler and the root's."""
    return [text for _, text in {(record.created, record.getMessage()) for record in logged.records}]


@pytest.mark.slow
def test_mlflows_file_store_has_parameters_scalars_and_results(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    store, workdir = tmp_path / "store", tmp_path / "run"
    workdir.mkdir()
    (workdir / "results.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(store.as_uri())
    track("mlflow", workdir, results=None)
    track("mlflow", workdir, n=3)  # the same command again
    client = mlflow.MlflowClient(store.as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {key: str(value) for key, value in CONFIG.items()}
    assert run.data.metrics == {
        "basic/fold0/loss": 0.5, "basic/fold0/accuracy": 0.25, "icarl _network_/final_accuracy": 0.5
    }  # fmt: skip
    assert [one.step for one in client.get_metric_history(run.info.run_id, "basic/fold0/loss")] == [0, 1, 0, 1, 2]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["results.json"]


def test_weights_and_biases_gets_the_same(tmp_path, monkeypatch):
    """By a stand-in: the service itself needs an account."""
    done = []

    class Run:
        summary = types.SimpleNamespace(update=lambda values: done.append(("summary", values)))

        def __getattr__(self, name):
            return lambda *arguments, **named: done.append((name, *arguments, *named.values()))

    def init(**named):
        done.append(("init", named))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for _ in range(2):
        track("wandb", tmp_path, n=1)
    first, second = (named for name, named, *_ in done if name == "init")
    assert (first["id"], first["resume"], first["config"]) == (second["id"], "allow", CONFIG)
    assert done[1:5] == [
        ("define_metric", "*", "step"),
        ("log", {"basic/fold0/loss": 0.5, "basic/fold0/accuracy": 0.25, "step": 0}),
        ("summary", {"icarl (network)/final_accuracy": 0.5}),
        ("finish", 0),
    ]


def test_a_tracker_that_never_began_is_not_ended(caplog):
    with trackers.Tracked("tensorboard"):
        pass
    assert not caplog.records
