"""The form in which increments are computed: measured on an accelerator at first use, and stored beside checkpoints.

A form is how convolutions are computed, and how several runs go side by side. All forms compute the same and round
differently, so a run stays with what it has begun with, however it is interrupted. On the CPU nothing is measured.
"""

import dataclasses
import json
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.phases.fold import Fold
from fer_jax.runs import processes, results
from fer_jax.runs.progress import log
from fer_jax.training import together
from fer_jax.training.fit import Job, train_epoch

FILE = "forms.json"


class Form(NamedTuple):
    """A form: one of `layers.FORMS`, and one of `together.WAYS`."""

    convolutions: str
    by: str

    def of(self, job: Job) -> Job:
        """Returns the job in this form."""
        recipe = job.recipe if self.convolutions == "auto" else job.recipe.in_form(self.convolutions)
        return dataclasses.replace(job, recipe=recipe, by=self.by)


def begin(checkpoints: pathlib.Path) -> None:
    """Makes the file of a run that begins on an accelerator; an older version's run has none, and measures nothing."""
    if not measurable():
        return
    checkpoints.mkdir(parents=True, exist_ok=True)
    results.write_json(checkpoints / FILE, {})


def measurable() -> bool:
    """Returns True where forms are measured: on accelerators."""
    return jax.default_backend() != "cpu"


def stored(checkpoints: pathlib.Path) -> dict | None:
    """Returns what was measured in a run, by kind of job; None where nothing is measured."""
    file = checkpoints / FILE
    return json.loads(file.read_text()) if file.exists() else None


def chosen(fold: Fold, job: Job) -> Job:
    """Returns a job in the form that the config says, that the run has stored, or that a short measurement finds.

    The measurement trains the job's first epoch in each form on copies; nothing of it is used later.
    """
    asked, usual_way = fold.config.devices, together.usual_form(job.runs[0].source)
    forms = _candidates(job, asked.convolutions, asked.side_by_side)
    usual = Form(asked.convolutions, usual_way if asked.side_by_side == "auto" else forms[0].by)
    if not measurable() or len(forms) < 2:
        return usual.of(job)
    file, name = fold.checkpoints / FILE, _name(job)
    there = processes.by_leader(lambda: stored(fold.checkpoints))
    if there is None:
        return usual.of(job)
    if name not in there:
        # Stored first: if a form ends the process, the run goes on in the usual one and does not try again.
        _store(file, there, name, usual, {})
        seconds = {form: _seconds(form.of(job)) for form in forms}
        there = processes.by_leader(lambda: _store(file, there, name, _fastest(seconds, usual), seconds))
    return Form(there[name]["convolutions"], there[name]["by"]).of(job)


def _candidates(job: Job, convolutions: str, by: str) -> list[Form]:
    """Returns the forms that the config allows and that the job can take.

    Images on the host are no axis of runs. Along an axis convolutions are products, whatever a run alone has.
    """
    usual, streamed = together.usual_form(job.runs[0].source), job.runs[0].source.streamed
    each = ("library", "product") if convolutions == "auto" else (convolutions,)
    if len(job.runs) == 1:
        return [Form(one, usual) for one in each]
    ways = together.WAYS if by == "auto" else (by,)
    no_axis = streamed or (convolutions == "library" and by == "auto")
    ways = [way for way in ways if not (no_axis and way == "vmap")] or [usual]
    return [Form(one, way) for way in ways for one in (("product",) if way == "vmap" else each)]


def _name(job: Job) -> str:
    """Returns what a measurement is good for: jobs whose epochs are the same programs, or nearly."""
    recipe, source = job.recipe, job.runs[0].source
    read = ("cached" if source.cached else "images") + (" on the host" if source.streamed else "")
    return f"{recipe.cut}, batch {recipe.batch_size}, {read}, {len(job.runs)} at once, {recipe.n_devices} devices"


def _seconds(job: Job) -> float | None:
    """Returns the seconds of an epoch of all runs, compiled before; None if the device has no room for it."""
    seconds = []
    try:
        for number in range(3):
            copies = [(run, jax.tree.map(jnp.copy, run.state)) for run in job.runs]
            began = time.perf_counter()
            jax.block_until_ready([state for state, _ in train_epoch(job, copies, 0, traced=number > 0)])
            seconds.append(time.perf_counter() - began)
    except jax.errors.JaxRuntimeError as error:
        log.warning("a form of an epoch, %s, cannot be computed: %s", job.by, str(error).splitlines()[0][:160])
        return None
    return min(seconds[1:])


def _fastest(seconds: dict[Form, float | None], usual: Form) -> Form:
    """Returns the fastest form; the usual one if none could be measured."""
    measured = {form: one for form, one in seconds.items() if one is not None}
    return min(measured, key=measured.get, default=usual)


def _store(file: pathlib.Path, there: dict, name: str, form: Form, seconds: dict[Form, float | None]) -> dict:
    """Stores a choice with its reasons; returns all that is stored then."""
    told = {" ".join(one): value for one, value in seconds.items()}
    there = {**there, name: {**form._asdict(), "seconds": told}}
    if processes.leads():
        results.write_json(file, there)
    if seconds:
        words = ", ".join(f"{one} {'–' if value is None else f'{value:.3g} s'}" for one, value in told.items())
        log.info("an epoch at %s: %s; taken: %s", name, words, " ".join(form))
    return there
