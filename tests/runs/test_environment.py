"""What is asked of XLA before it starts, unless it is asked for something else."""

import importlib.util

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
    monkeypatch.delenv("NPROC", raising=False)
    environment._enough_threads()
    assert int(environment.os.environ["NPROC"]) >= 32
    monkeypatch.setenv("NPROC", "5")
    environment._enough_threads()
    assert environment.os.environ["NPROC"] == "5"
