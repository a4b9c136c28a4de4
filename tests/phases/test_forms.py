"""The form of increments: measured once, stored, and the same after an interruption; on the CPU never measured."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from fer_jax.bench import world
from fer_jax.bench.rehearsal import changed
from fer_jax.bench.world import METHOD, noise
from fer_jax.methods import METHODS
from fer_jax.phases import base as base_task
from fer_jax.phases import continual, forms
from fer_jax.phases.forms import Form
from fer_jax.phases.increments import _run, _set_up, begin
from fer_jax.phases.part import Part, effective
from fer_jax.runs.checkpoints import Saving
from fer_jax.training.fit import NEVER, Job
from studies.chaos import arrays, without_times
from tests.support.epochs import Cut, counted
from tests.support.pictures import tiny


def fold_of(folder, **changes):
    config = changed(tiny(**{"continual.max_epochs": 3, "continual.patience": 3}), changes)
    return dataclasses.replace(world.fold_of(config, noise(config)), checkpoints=folder, saving=Saving(0.0))


def job_of(fold, runs: int = 1) -> Job:
    """The first increment of class orders side by side."""
    base = base_task.initial_params(fold)
    method = effective(fold.config, METHODS[METHOD])
    parts = [Part(fold, base, method, number, np.arange(3)) for number in range(runs)]
    learned = begin(parts[0])
    return Job(tuple(_run(part, _set_up(part, learned, 0)) for part in parts), parts[0].recipe, NEVER, 3)


@pytest.fixture
def on_accelerator(monkeypatch):
    """Forms are measured, and take what the test says in the place of what they take."""
    measured, seconds = [], {}

    def scripted(job):
        form = Form(job.recipe.network.backbone.form, job.by)
        measured.append(form)
        return seconds.get(form, 9.0)

    monkeypatch.setattr(forms, "measurable", lambda: True)
    monkeypatch.setattr(forms, "_seconds", scripted)
    return measured, seconds


def taken(job) -> tuple[str, str]:
    return job.recipe.network.backbone.form, job.by


def test_on_the_cpu_nothing_is_measured_and_the_form_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "_seconds", None)
    fold = fold_of(tmp_path)
    forms.begin(tmp_path)
    assert not list(tmp_path.iterdir())
    for job in (job_of(fold), job_of(fold, 2)):
        assert taken(forms.chosen(fold, job)) == ("auto", "threads")
    asked = fold_of(tmp_path, **{"devices.convolutions": "product", "devices.side_by_side": "one_by_one"})
    assert taken(forms.chosen(asked, job_of(asked, 2))) == ("product", "one_by_one")


def test_the_fastest_form_is_stored_and_taken_again_without_measuring(tmp_path, on_accelerator):
    measured, seconds = on_accelerator
    fold = fold_of(tmp_path)
    forms.begin(tmp_path)
    one, two = job_of(fold), job_of(fold, 2)
    seconds |= {Form("product", "threads"): 1.0, Form("product", "vmap"): 0.5}
    assert taken(forms.chosen(fold, one)) == ("product", "threads")
    assert measured == [Form("library", "threads"), Form("product", "threads")]
    del measured[:]
    assert taken(forms.chosen(fold, two)) == ("product", "vmap")
    assert len(measured) == len(set(measured)) == 5
    # It would be another one now, and a run that goes on does not ask.
    seconds.clear()
    del measured[:]
    assert (taken(forms.chosen(fold, one)), taken(forms.chosen(fold, two))) == (
        ("product", "threads"), ("product", "vmap"),
    )  # fmt: skip
    assert not measured
    stored = json.loads((tmp_path / forms.FILE).read_text())
    assert [row["seconds"]["product threads"] for row in stored.values()] == [1.0, 1.0]


def test_a_run_alone_is_measured_where_several_would_be_an_axis(tmp_path, on_accelerator, monkeypatch):
    measured, seconds = on_accelerator
    monkeypatch.setattr(forms.together, "usual_form", lambda source: "vmap")
    fold = fold_of(tmp_path)
    forms.begin(tmp_path)
    seconds[Form("library", "vmap")] = 1.0
    assert taken(forms.chosen(fold, job_of(fold))) == ("library", "vmap")
    assert measured == [Form("library", "vmap"), Form("product", "vmap")]


def test_an_axis_is_left_out_where_the_library_is_asked_for(tmp_path, on_accelerator):
    measured, _ = on_accelerator
    forms.begin(tmp_path)
    fold = fold_of(tmp_path, **{"devices.convolutions": "library"})
    forms.chosen(fold, job_of(fold, 2))
    assert {form.by for form in measured} == {"one_by_one", "threads"}


def test_the_config_decides_what_it_names(tmp_path, on_accelerator):
    measured, _ = on_accelerator
    forms.begin(tmp_path)
    fold = fold_of(tmp_path, **{"devices.side_by_side": "vmap", "devices.convolutions": "library"})
    assert taken(forms.chosen(fold, job_of(fold, 2))) == ("library", "vmap")
    assert not measured
    fold = fold_of(tmp_path, **{"devices.side_by_side": "threads"})
    forms.chosen(fold, job_of(fold, 2))
    assert {form.by for form in measured} == {"threads"}


def test_a_run_of_an_older_version_measures_nothing(tmp_path, on_accelerator):
    measured, _ = on_accelerator
    fold = fold_of(tmp_path)
    assert taken(forms.chosen(fold, job_of(fold))) == ("auto", "threads")
    assert not measured


def test_a_form_that_ends_the_process_is_not_tried_again(tmp_path, on_accelerator, monkeypatch):
    measured, _ = on_accelerator
    forms.begin(tmp_path)
    fold = fold_of(tmp_path)

    def aborts(job):
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(forms, "_seconds", aborts)
        with pytest.raises(Cut):
            forms.chosen(fold, job_of(fold))
    assert taken(forms.chosen(fold, job_of(fold))) == ("auto", "threads")
    assert not measured


def test_a_form_without_room_is_none_and_the_others_are_measured(tmp_path, monkeypatch):
    """The real measurement: it trains on copies, and changes nothing of the job."""
    fold = fold_of(tmp_path)
    job = job_of(fold, 2)
    before = [jax.tree.map(np.asarray, run.state) for run in job.runs]
    real = forms.train_epoch

    def crowded(job, *rest, **more):
        if job.by == "vmap":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")
        return real(job, *rest, **more)

    monkeypatch.setattr(forms, "train_epoch", crowded)
    monkeypatch.setattr(forms, "measurable", lambda: True)
    forms.begin(tmp_path)
    form = taken(forms.chosen(fold, job))
    (row,) = json.loads((tmp_path / forms.FILE).read_text()).values()
    assert row["seconds"].pop("product vmap") is None
    assert all(0 < one < 600 for one in row["seconds"].values())
    assert (row["convolutions"], row["by"]) == form
    jax.tree.map(np.testing.assert_array_equal, before, [jax.tree.map(np.asarray, run.state) for run in job.runs])


def test_a_run_that_goes_on_in_its_form_ends_with_the_same_bits(tmp_path, on_accelerator):
    """Where the other form would win on the second try."""
    _, seconds = on_accelerator
    orders, method = {0: np.array([0, 1, 2]), 1: np.array([2, 0, 1])}, METHODS[METHOD]
    changes = {"continual.side_by_side": 2}

    def phase(folder):
        fold = fold_of(folder / "checkpoints", **changes)
        return without_times(continual.run_all(fold, base_task.initial_params(fold), method, orders))

    seconds |= {Form("product", "one_by_one"): 1.0}
    for name in ("whole", "cut"):
        forms.begin(tmp_path / name / "checkpoints")
    expected = phase(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:

        def cut():
            raise Cut

        counted(patch, 5, cut)
        with pytest.raises(Cut):
            phase(tmp_path / "cut")
    seconds |= {Form("library", "threads"): 0.5}
    assert phase(tmp_path / "cut") == expected
    jax.tree.map(np.testing.assert_array_equal, arrays(tmp_path / "cut"), arrays(tmp_path / "whole"))
