"""The line that submits a sweep's cells names exactly these cells, and survives a shell."""

import shlex

from fer_jax.sweeps import slurm


def test_numbers_are_written_as_ranges():
    assert slurm.array([0, 1, 2, 3, 7]) == "0-3,7"
    assert slurm.array([5, 4, 9, 10]) == "4-5,9-10"
    assert slurm.array([0], at_a_time=2) == "0%2"


def test_the_line_is_what_a_shell_reads():
    arguments = ["--config", "my configs/a.py", "--over", "model.hidden=(512,128),(32,)"]
    words = shlex.split(slurm.line([1, 2], arguments, 4))
    assert words == ["sbatch", "--array=1-2%4", "launch/slurm/sweep.sbatch", *arguments]
