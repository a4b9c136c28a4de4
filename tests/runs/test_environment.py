"""The processor by name, and what is asked of XLA before it starts, unless it is asked for something else."""

import importlib.util
import os
import pathlib
import platform
import subprocess
import sys
import types

import pytest

from fer_jax.runs import environment


@pytest.mark.parametrize(
    ("there", "before", "after"),
    [
        ((), "", ""),
        (("jax_cuda13_plugin",), "", "--xla_gpu_enable_triton_gemm=false"),
        (("jax_cuda12_plugin",), "--xla_dump_to=x", "--xla_dump_to=x --xla_gpu_enable_triton_gemm=false"),
        (("jax_cuda12_plugin",), "--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm=true"),
    ],
)
def test_nvidias_devices_get_no_triton_products_unless_they_are_asked_for(monkeypatch, there, before, after):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setenv("XLA_FLAGS", before)
    environment._without_triton_products()
    assert environment.os.environ["XLA_FLAGS"] == after


def test_virtual_devices_get_threads_enough_unless_they_are_given(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    monkeypatch.setenv("NPROC", "")  # so that it is restored, even where it was not set
    monkeypatch.delenv("NPROC")
    environment._enough_threads()
    assert int(environment.os.environ["NPROC"]) >= 32
    monkeypatch.setenv("NPROC", "5")
    environment._enough_threads()
    assert environment.os.environ["NPROC"] == "5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu sse4_2 avx avx2\n" * 2, ("AMD EPYC", None, "avx2")),
        (
            "cpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R)\nstepping\t: 2\n"
            "flags\t\t: sse4_2 avx avx2 avx512f\n",
            ("Intel(R) Xeon(R)", "6.207.2", "avx512f"),
        ),
        ("flags\t\t: avxes\n", (platform.processor() or platform.machine(), None, None)),
        (None, (platform.processor() or platform.machine(), None, None)),
    ],
)
def test_the_processor_has_a_model_and_instructions(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert tuple(environment.processor(path).values()) == expected


def test_the_commit_is_that_of_the_checkout_and_changes_are_marked(tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    assert environment.commit(checkout) is None

    def git(*words):
        names = ("-c", "user.name=A", "-c", "user.email=a@b")
        return subprocess.run(["git", *names, *words], cwd=checkout, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    environment.commit.cache_clear()
    assert environment.commit(checkout) is None
    result = checkout / "docs" / "results" / "best.json"
    result.parent.mkdir(parents=True)
    for path in (checkout / "code.py", checkout / "README.md", result):
        path.write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message=one")
    name = git("rev-parse", "HEAD").strip()
    for path in (checkout / "new.py", checkout / "README.md", result):
        path.write_text("2")
    environment.commit.cache_clear()
    assert environment.commit(checkout) == name
    (checkout / "code.py").write_text("3")
    assert environment.commit(checkout) == name
    environment.commit.cache_clear()
    assert environment.commit(checkout) == f"{name}+"


def test_a_command_is_told_as_a_shell_takes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/fer-jax", "bench", "--only", "a b"])
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert environment.command() == "fer-jax bench --only 'a b'"
    (tmp_path / "asked.py").write_text("from fer_jax.runs import environment\nprint(environment.command())\n")
    told = subprocess.run(
        [sys.executable, "-m", "asked", "--out", "x.json"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    ).stdout  # fmt: skip
    assert told == "python -m asked --out x.json\n"


@pytest.mark.parametrize(("asked", "expected"), [(None, 3), ("", 3), ("7", 7), ("many", 3)])
def test_xla_has_a_thread_for_each_core_that_this_process_may_use_or_as_many_as_asked(monkeypatch, asked, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 4, 5}, raising=False)
    monkeypatch.setenv("NPROC", asked) if asked is not None else monkeypatch.delenv("NPROC", raising=False)
    assert environment.threads() == expected
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert environment.cores() == 8
