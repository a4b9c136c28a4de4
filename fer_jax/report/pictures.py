"""The parts of the page that show faces. They need the run's data set and one of its models."""

import pathlib
from typing import NamedTuple

import jax

from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError
from fer_jax.inference import trained as models
from fer_jax.report import drawing, gallery, memory, record, selection
from fer_jax.runs.names import method_name


class Faces(NamedTuple):
    """The pictures of a run; where something is missing, it is empty and `why` gives the reason in a sentence.

    memory: `memory.classes` of the method. gallery: `gallery.in_page` of the model `gallery_of` at `layer`.
    sanity: variants with their `gallery.Sanity`.
    """

    why: str = ""
    memory: tuple[dict, ...] = ()
    gallery: tuple[dict, ...] = ()
    gallery_of: str = ""
    layer: str = ""
    files: tuple[str, ...] = ()
    sanity: tuple[tuple, ...] = ()


def draw(results: dict, workdirs: list[pathlib.Path], folder: pathlib.Path, data: FaceArrays | None) -> Faces:
    """Draws the exemplars and Grad-CAM of the run nearest to the mean; saves gallery.png and .pdf in `folder`.

    Args:
      workdirs: of the runs in `results`; only that of the chosen run is read.
      data: the run's data set if it is already loaded; None loads it.
    """
    method = selection.main_method(results)
    if method is None:
        return Faces("There are no increments, so there is no memory to show.")
    if jax.process_count() > 1:
        # Reading a model is something that all processes do together, and only the first writes a report.
        return Faces("A run of several processes draws no faces; fer-jax report draws them.")
    run = selection.pick(results["continual"][method]["runs"]).nearest
    name, _ = record.split_name(method)
    part_folder = record.find(results, workdirs, method, run)
    if part_folder is None and len(workdirs) > 1:
        return Faces("Faces are not shown: the checkpoints of the run nearest to the mean are not there.")
    workdir = workdirs[0] if part_folder is None else part_folder.parents[3]  # checkpoints/fold/method/order
    try:
        model = models.restore(workdir, name, run["fold"], run["order"], data)
        data, split = models.load_data(model, data)
    except UserError as error:
        return Faces(f"Faces are not shown: {error}.")
    memories = None if part_folder is None else record.memories(part_folder)
    classes = memory.classes(memories, run, results["data"]["classes"], data.image) if memories else []
    # Looked at is a network, which is not what every method answers by.
    looked_at = method.replace(name, model.column, 1)
    called = f"{method_name(looked_at)}, {selection.run_name(run, results)}"
    faces = Faces(memory=tuple(classes), gallery_of=called)
    try:
        entries = gallery.entries(model, data, split.test)
    except UserError as error:
        return faces._replace(why=f"There are no maps: {error}.")
    files = drawing.save_files(gallery.figure(entries.faces), folder, "gallery")
    shown = tuple(gallery.in_page(entries.faces))
    return faces._replace(gallery=shown, layer=entries.layer, files=files, sanity=tuple(entries.sanity.items()))
