"""Runs tests again and again, each time in a fork of a process that has imported their libraries already.

    python studies/materials/forked_tests.py 120

It reads a line of stdin, a JSON list of pytest's arguments, runs those tests in a child and answers with its exit code
and processor seconds as a line of JSON. The number is the processor seconds that a child may use; one that is killed
for them has minus the signal's number as its code. The child imports this project anew. JAX does not survive a fork
once it computes, so nothing here does: libraries are imported, and nothing of the project is.
"""

import importlib
import json
import os
import resource
import signal
import sys

LIBRARIES = ("jax", "flax", "optax", "chex", "scipy.stats", "sklearn.linear_model", "hypothesis.extra.numpy", "pytest",
             "orbax.checkpoint", "matplotlib.pyplot", "ml_collections", "rich.live", "jinja2")  # fmt: skip
# A test that waits uses no processor; on a busy machine one that computes takes several times its processor seconds.
WAIT = 20


def run(arguments: list[str], cpu_seconds: int) -> None:
    """Runs the tests in this process, which ends with their exit code."""
    import hypothesis
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    signal.alarm(WAIT * cpu_seconds)
    # What fails is not made smaller, and the examples are the same for every mutant.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, phases=phases)
    hypothesis.settings.load_profile("mutation")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    code = pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments])
    os._exit(int(code))


def main() -> None:
    """Answers until stdin ends."""
    cpu_seconds = int(sys.argv[1])
    sys.path.insert(0, os.getcwd())
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line), cpu_seconds)
        _, status, used = os.wait4(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "seconds": round(used.ru_utime + used.ru_stime, 2)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
