"""A sweep as a SLURM job array: the command that submits it."""

import shlex

SCRIPT = "launch/slurm/sweep.sbatch"


def array(numbers: list[int], at_a_time: int | None = None) -> str:
    """Formats numbers as sbatch takes them: `0-3,7`, and `0-3,7%2` for two at a time."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    text = ",".join("-".join(map(str, part)) for part in parts)
    return f"{text}%{at_a_time}" if at_a_time else text


def line(numbers: list[int], arguments: list[str], at_a_time: int | None = None) -> str:
    """Returns the command that submits these cells; the script passes its arguments to `fer-jax sweep … --cell N`."""
    return shlex.join(["sbatch", f"--array={array(numbers, at_a_time)}", SCRIPT, *arguments])
