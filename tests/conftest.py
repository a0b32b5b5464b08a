"""Settings shared by all tests; they must act before jax starts."""

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# tests compile thousands of small programs and run each a few times: without LLVM's optimisation
# and the detour of fusions through MLIR the suite takes half of the time; `XLA_FLAGS= make test`
# takes the compiler as it is
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
# the TPU compiler runs without a TPU; these keep it from looking for one
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker ends long after the others."""
    items.sort(key=lambda item: item.path.parent.name not in ("pod", "batteries"))
