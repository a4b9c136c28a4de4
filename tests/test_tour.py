"""docs/tour.ipynb, executed from nothing; what is committed was made by the cells that are in it."""

import json
import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "docs" / "tour.ipynb"


def text_of(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")


def pictures_of(notebook) -> int:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_committed_notebook_has_its_outputs_and_is_small():
    notebook = nbformat.read(PATH, 4)
    nbformat.validate(notebook)
    assert PATH.stat().st_size < 1_000_000
    assert pictures_of(notebook) == 3
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = json.dumps(notebook)
    assert "/tmp" not in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_it_runs_from_nothing():
    notebook = nbformat.read(PATH, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}})
    client.execute()
    assert pictures_of(notebook) == 3
    told = "".join(text_of(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert "150 people" in told
    for name in ("average_incremental_accuracy", "final_accuracy", "forgetting", "distillation", "focal"):
        assert name in told
