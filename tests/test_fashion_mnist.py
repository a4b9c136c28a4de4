"""Split Fashion-MNIST by its config, where its files are: Debian's package dataset-fashion-mnist has them."""

import json
import pathlib
import runpy

import pytest

from fer_jax.cli import main

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "fashion_mnist.py"
FOLDER = pathlib.Path(runpy.run_path(str(CONFIG))["get_config"]().data.manual_dir)


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there: apt install dataset-fashion-mnist")
def test_five_tasks_of_two_classes(tmp_path):
    arguments = ["train", "--config", str(CONFIG), "--workdir", str(tmp_path / "run")]
    assert main.main([*arguments, "--config.methods=('finetune','er','slda')"]) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (found["data"]["images"], len(found["data"]["classes"])) == (70_000, 10)
    (run,) = found["continual"]["er"]["runs"]
    assert sum(run["test_counts"]) == 10_000
    assert len(run["accuracy_matrix"]) == 5
    assert set(run["exemplars_per_class"]) == {100}
    final = {method: entry["metrics"]["final_accuracy"]["mean"] for method, entry in found["continual"].items()}
    assert final["finetune"] < 0.25
    assert final["er"] > 0.4
    assert final["slda"] > 0.6
