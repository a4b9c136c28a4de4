"""Every measurement at toy size: the keys that it promises, and that what is compared does the same work."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from fer_jax.bench import (
    arithmetic,
    devices,
    epoch,
    inference,
    pipeline,
    profile,
    runs,
    scaling,
    selection,
    step,
    world,
)
from fer_jax.bench.record import Bench
from fer_jax.bench.world import Epochs, Phase, fold_of, in_form, noise
from fer_jax.cli import main
from fer_jax.phases import base as base_task
from fer_jax.training import epoch as training_epoch
from studies import side_by_side
from studies.documents import performance
from tests.support.pictures import tiny

ROOT = pathlib.Path(__file__).parents[2]
KEYS = {"name", "settings", "images_per_second", "compile_seconds", "peak_memory_bytes", "peak_memory_of",
        "multiply_adds", "share_of_matmul_peak"}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    config = tiny()
    return Bench(config, config, (), quick=True)


@pytest.fixture(scope="module")
def phase() -> Phase:
    config = tiny()
    return Phase(fold_of(config, noise(config)))


@pytest.fixture
def epochs_read(monkeypatch) -> list[tuple[tuple, bool]]:
    """Of every epoch that is trained its pool, and whether it is validated."""
    read, real = [], world.run_epoch

    def noted(state, source, pool, *rest, **more):
        read.append((tuple(np.asarray(pool).tolist()), "validate" in more or len(rest) == 4))
        return real(state, source, pool, *rest, **more)

    for module in (world, training_epoch):  # as `Epochs` calls it, and as runs side by side do
        monkeypatch.setattr(module, "run_epoch", noted)
    return read


def checked(rows) -> list[dict]:
    rows = list(rows)
    assert rows
    for row in rows:
        json.dumps(row)
        if row["name"] == "growth":
            continue
        assert row.keys() >= KEYS
        rate = row["images_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        assert rate["n"] >= 2
        assert row["multiply_adds"].keys() == {"formula", "xla"}
        if row["multiply_adds"]["formula"]:
            # XLA counts what is no product, too, which is much on pictures as small as these.
            assert 0.5 < row["multiply_adds"]["xla"] / row["multiply_adds"]["formula"] < 5
    return rows


def tabled(part, rows) -> list[list[str]]:
    """The rows of a table of docs/performance.md, each as wide as its header."""
    peak = {"name": "matmul peak", **arithmetic.matmul_peak()._asdict()}
    header, table, said = part({"measurements": [peak, *rows]})
    assert table
    assert all(len(row) == len(header) for row in table)
    assert all(isinstance(cell, str) for row in table for cell in row)
    assert not said or said.endswith(".")
    return table


def test_the_three_steps_are_one_step():
    """The same loss, step after step: what is compared in speed computes the same."""
    config = tiny()
    made = step.steps(fold_of(config, noise(config)))
    losses = {kind: [float(one()) for _ in range(4)] for kind, one in made.items()}
    assert len(set(losses["exact"])) == 4, "a step must change something"
    for kind in ("published", "cached"):
        np.testing.assert_allclose(losses[kind], losses["exact"], rtol=1e-5)
        assert made[kind].losses[0] == pytest.approx(float(made["exact"].losses[0]), rel=1e-5)


def test_the_published_step_runs_the_trunk_twice_and_the_cached_one_never():
    config = tiny()
    fold = fold_of(config, noise(config))
    made = {kind: one.by_xla for kind, one in step.steps(fold).items()}
    trunk, tail = arithmetic.forward(fold.network, 16, "conv1", config.continual.batch_size)
    assert made["published"] - made["exact"] == pytest.approx(trunk, rel=0.2)
    # The cached one is spared the trunk, the teacher and the augmentation.
    assert made["exact"] - made["cached"] > 0.8 * (trunk + tail)


def test_steps(bench):
    rows = checked(step.measure(bench))
    assert [row["settings"]["kind"] for row in rows] == ["published", "exact", "cached"]
    assert rows[0]["times_published"]["median"] == 1.0
    formula = [row["multiply_adds"]["formula"] for row in rows]
    assert formula[0] > formula[1] > formula[2] > 0
    published, exact, cached = (row["temporary_bytes"] for row in rows)
    assert 0 < cached < exact <= published  # what is not computed needs no memory; the teacher's is used again here
    assert [row[0] for row in tabled(performance.steps, rows)] == ["published", "exact", "cached"]


def test_the_forms_of_an_epoch_train_alike(phase):
    memory = phase.select()
    found = []
    for form, loop in epoch.FORMS.values():
        epochs = Epochs(phase, memory, in_form(phase.part.recipe, form), loop)
        epochs()
        found.append(epochs.losses[0])
    np.testing.assert_allclose(found, found[0], rtol=1e-5)
    # All exemplars of the old classes, and as many of the new one; the last partial batch is dropped.
    m = phase.fold.exemplars(phase.n_increments - 1)
    assert epochs.images == max(1, m * phase.fold.n_classes // 8) * 8


def test_an_epoch_as_a_run_has_it_draws_anew_and_validates(phase, epochs_read):
    memory = phase.select()
    for as_a_run in (False, True):
        epochs = Epochs(phase, memory, as_a_run=as_a_run)
        for _ in range(3):
            epochs()
    pools, validated = zip(*epochs_read, strict=True)
    assert validated == (False,) * 3 + (True,) * 3
    assert len(set(pools[:3])) == 1 < len(set(pools[3:]))


def test_runs_side_by_side_draw_and_validate_as_those_one_by_one(phase, epochs_read):
    epochs = Epochs(phase, phase.select())
    together = runs.Together(epochs, 2, "threads")
    for _ in range(3):
        together()
    pools, validated = zip(*epochs_read, strict=True)
    assert validated == (True,) * 6
    assert len(set(pools)) == 4, "the calls draw 0 and 1, 1 and 2, 2 and 3"
    assert all(len({*pools[2 * call : 2 * call + 2]}) == 2 for call in range(3)), "each run has a pool of its own"


@pytest.mark.slow
def test_epochs(bench, tmp_path):
    rows = checked(epoch.measure(dataclasses.replace(bench, profile=tmp_path)))
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1
    # What is called the fastest is what the table shows to be.
    (fastest,) = {row["fastest"] for row in rows}
    assert max(rows, key=lambda row: row["images_per_second"]["median"])["settings"]["form"] == fastest
    assert [row["settings"]["form"] for row in rows] == list(epoch.FORMS)
    assert sum(row["settings"]["usual"] for row in rows) == 1
    assert [row[0].removesuffix(" (what a run takes here)") for row in tabled(performance.epochs, rows)] == [
        *epoch.FORMS
    ]


def test_selection_costs_one_trunk_pass_an_image(bench):
    (row,) = checked(selection.measure(bench))
    n = row["settings"]["all_images"]
    assert n <= row["trunk_passes"] < n + 64  # the last batch is filled up
    assert row["trunk_passes_after_the_first_time"] == 0
    assert row["same_again"]
    assert row["stored"] == row["settings"]["exemplars_a_class"] * row["settings"]["classes"]
    assert tabled(performance.inference, [row])[0][0].startswith("memory selection, 3 increments")


def test_a_trunk_that_runs_twice_is_counted_twice():
    config = tiny()
    fold = fold_of(config, noise(config))
    fold = dataclasses.replace(fold, network=selection.counting(fold.network))
    assert len(Phase(fold).part.test.labels)
    once = selection.trunk_passes(fold.network)
    fold.cache.clear()  # as if it were a cache that forgets
    assert len(Phase(fold).part.test.labels)
    assert selection.trunk_passes(fold.network) == 2 * once > 0


def test_evaluation_from_the_cache_answers_as_from_pixels(bench):
    fold = fold_of(bench.large, noise(bench.large))
    evaluation = inference.Evaluation(fold, base_task.initial_params(fold), 8)
    np.testing.assert_allclose(evaluation.from_cache(), evaluation.from_pixels(), atol=1e-5)
    rows = checked(inference.measure_evaluation(bench))
    assert [row["settings"]["from"] for row in rows] == ["pixels", "cache"]
    assert [row[0] for row in tabled(performance.inference, rows)] == [
        "evaluation from pixels", "evaluation from the cache"
    ]  # fmt: skip


def test_maps_and_input(bench):
    assert checked(inference.measure_grad_cam(bench))[0]["settings"]["variant"] == "guided"
    rows = checked(pipeline.measure(bench))
    assert [row["settings"]["what"] for row in rows] == ["decode", "cut to size", "stream", "augment"]
    assert tabled(performance.inference, rows)[2][0].startswith("batches of")


@pytest.mark.slow
def test_runs(bench):
    rows = checked(runs.measure(bench))
    assert {row["settings"]["runs"] for row in rows} == set(runs.COUNTS_QUICK)
    assert {row["times_one_by_one"]["median"] for row in rows if row["settings"]["by"] == "one by one"} == {1.0}
    tabled(performance.runs, rows)


def test_devices_of_this_process():
    found = devices.here(tiny(), True, 1)
    assert found["devices"] == 1
    assert len(found["losses"]) == 1 + len(found["seconds"])
    assert 0.5 < found["by_xla"] / found["multiply_adds"] < 5
    assert np.isfinite(found["losses"]).all()
    assert np.sum(found["confusion"]) == 2 * 9  # two test subjects, nine classes


@pytest.mark.slow
def test_curves(bench, monkeypatch):
    monkeypatch.setattr(scaling, "QUICK", {"classes": (6, 8)})
    monkeypatch.setattr(scaling, "USUAL_QUICK", {**scaling.USUAL, "images": 200})
    rows = checked(scaling.measure(bench))
    assert [row["name"] for row in rows] == ["scaling", "scaling", "growth"]
    assert rows[-1].keys() == {"name", "settings", "step", "epoch", "selection"}
    assert tabled(performance.growth, rows)[0][:2] == ["classes", "6 … 8"]


@pytest.mark.slow
def test_a_profile_tells_in_which_increment_xla_compiled():
    # A batch of its own, so that no other test has compiled for it.
    found = profile.measure(tiny(**{"continual.batch_size": 4}))
    assert len(found["compile_seconds"]) == len(found["increments"]) == found["settings"]["increments"] == 3
    assert found["compile_seconds"][0] > 0
    assert sum(found["compile_seconds"][1:]) == 0
    assert 0 < found["compiled_share"] <= 1
    assert len(performance.profile(found)[1]) == 3


def test_class_orders_side_by_side_are_told_as_they_were_measured(monkeypatch):
    def run(config, folder, at_once, number):
        """Half the time side by side, and one accuracy that is another."""
        matrices = np.full((2, 3, 4), np.nan)
        matrices[:, 0, 0] = 0.5
        matrices[1, 2, 3] = 0.25 if at_once == 2 else 0.5
        return 30.0 / at_once, 1.0, matrices

    monkeypatch.setattr(side_by_side, "run", run)
    found = side_by_side.measure(orders=2, pairs=3, epochs=2)
    assert found["environment"].keys() >= {"cores", "load_before", "precision"}
    header, table, _ = performance.side_by_side(json.loads(json.dumps(found)))
    assert header[0] == "continual phase of 2 class orders"
    assert table == [
        ["one by one", "30 [30, 30] (n = 3)", "–", "–"],
        ["side by side", "15 [15, 15] (n = 3)", "0.50 [0.50, 0.50]", "0.25"],
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "steps"], "--only has 'steps'; it may be some of step, evaluation"),
        (["--only", ""], "--only has ''; it may be"),
        (["--out", "nowhere/at/all.json"], "--out nowhere/at/all.json: there is no folder"),
        (["--out", "."], "--out . is a folder; it may be a file"),
        (["--config", "nothing.py"], "--config nothing.py: no such file"),
        (["--config.seed=1"], "--config.seed=1 overrides a key of --config FILE, which is missing"),
        (["--profile", "README.md"], "--profile README.md: File exists; it may be a folder, or a new one"),
        (["--profile", "x", "--only", "step"], "--profile traces two epochs; --only lacks epoch"),
        (["--quik"], "--quik is not an argument of bench"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(capsys, arguments, said):
    code = main.main(["bench", *arguments])
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_the_command_prints_lines_and_writes_a_file(capsys, tmp_path):
    out = tmp_path / "bench.json"
    assert main.main(["bench", "--config", str(ROOT / "configs" / "smoke.py"), "--only", "input", "--quick",
                      "--out", str(out), "--config.model.precision=bfloat16"]) == 0  # fmt: skip
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    written = json.loads(out.read_text())
    assert lines == written["measurements"]
    assert [line["name"] for line in lines] == ["matmul peak", *["input"] * 4]
    assert written["environment"]["cores"] >= 1
    assert written["environment"]["precision"] == "bfloat16"
