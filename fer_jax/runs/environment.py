"""What was called, on which processor, and environment variables that tell XLA how to run, set before JAX starts."""

import contextlib
import functools
import importlib.util
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).parents[2]
_CODE = (".", ":(exclude)docs", ":(exclude)README.md")
CPUINFO = pathlib.Path("/proc/cpuinfo")
# What XLA compiles for, widest first: another one rounds differently.
INSTRUCTION_SETS = ("avx512f", "avx2", "avx", "sse4_2")


def command() -> str:
    """Returns this process's command as a shell takes it, such as `python -m studies.chaos --out FILE`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec else [pathlib.Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])


@functools.cache
def commit(checkout: pathlib.Path = CHECKOUT) -> str | None:
    """Returns the commit that this code was checked out from, or None where it is no checkout or there is no git.

    It ends in "+" if a file that git knows has changed since, but for documents, which hold what was measured. The
    first call decides, so it belongs before the work.
    """
    if not (checkout / ".git").exists():
        return None
    try:
        name, changed = (
            subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", *_CODE))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}+" if changed else name


@functools.cache
def processor(cpuinfo: pathlib.Path = CPUINFO) -> dict[str, str | None]:
    """Returns the processor's model, its version and its widest vector instructions.

    The version is its family, model and stepping as numbers: virtual machines give many processors one name. It and the
    instructions are None where the system does not tell them.
    """
    text = ""
    with contextlib.suppress(OSError):
        text = cpuinfo.read_text()
    lines = dict(re.findall(r"^(cpu family|model|stepping|model name|flags)\s*: (.+)$", text, re.MULTILINE))
    flags = lines.get("flags", "").split()
    version = [lines.get(name) for name in ("cpu family", "model", "stepping")]
    return {
        "model": lines.get("model name") or platform.processor() or platform.machine(),
        "version": ".".join(version) if all(version) else None,
        "instructions": next((one for one in INSTRUCTION_SETS if one in flags), None),
    }


def cores() -> int:
    """Returns how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Returns how many threads XLA computes with on a CPU: as many as NPROC says, or one a core.

    It shares long sums out among them, so that results differ in their last digits with another number.
    """
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdigit() else cores()


def prepare_environment() -> None:
    """Sets the variables that this project needs, unless they are set; has no effect once JAX has computed.

    Every program that trains calls it first: the command, `experiment.train`, and scripts that go around both.
    """
    _enough_threads()
    _without_triton_products()


def missing_device() -> str | None:
    """Returns in one line that JAX has no device of the kind that JAX_PLATFORMS asks for; None if it has one."""
    import jax

    try:
        jax.devices()
    except Exception:  # JAX raises a RuntimeError or an AssertionError, by the kind
        return (
            f"JAX_PLATFORMS is {jax.config.jax_platforms!r}, and JAX finds no such device here; it may be cpu, or unset"
        )
    return None


def _enough_threads() -> None:
    """Asks for threads for the virtual devices of a CPU.

    XLA has as many as the machine has cores. A device that waits in a collective holds one of them, and if those that
    it waits for find none, all wait until XLA aborts the process after 40 seconds. Once JAX has begun it is too late.
    """
    asked = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if asked and int(asked[1]) > 1:
        os.environ.setdefault("NPROC", str(max(4 * int(asked[1]), os.cpu_count() or 1)))


def _without_triton_products() -> None:
    """Asks for no Triton kernels for matrix products on NVIDIA's devices.

    XLA of jax 0.11.2 aborts the process when it lays the tiles of one over a convolution written as such a product
    ("triton_tiling_propagation.cc: Check failed: subdim_size_accumulator == dim_size"); cuBLAS computes all of them.
    """
    option = "xla_gpu_enable_triton_gemm"
    there = any(importlib.util.find_spec(name) for name in ("jax_cuda12_plugin", "jax_cuda13_plugin"))
    if there and option not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{option}=false".strip()
