"""Settings shared by all tests; they must act before jax starts."""

import gc
import os
from importlib.metadata import version

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# threads of scikit-learn that wait by spinning, two workers of them on two cores, take minutes
os.environ.setdefault("OMP_NUM_THREADS", "1")
# the TPU compiler runs without a TPU; these keep it from looking for one
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
# tracing makes millions of objects that live; looking through them takes a tenth of the time, and
# noting in each program where its lines come from a twentieth
gc.set_threshold(50_000, 20, 20)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# tests compile thousands of small programs and run each a few times: without LLVM's optimisation,
# modules cut into many, and the detour of fusions through MLIR the suite takes half of the time;
# `XLA_FLAGS= make test` takes the compiler as it is
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
# jax 0.11 knows no fusions without the detour, and a flag it does not know stops the process
DIRECT = " --xla_cpu_use_fusion_emitters=false" if version("jaxlib") < "0.11" else ""
if os.environ.get("XLA_FLAGS", QUICK) == QUICK:  # as a worker finds it
    os.environ["XLA_FLAGS"] = QUICK + DIRECT
    # the CPU compiler reads its flags here, once; the TPU compiler does so at its first program,
    # and stops the process at a flag that it does not know
    import jax

    jax.devices()
    os.environ["XLA_FLAGS"] = QUICK


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker ends long after the others."""
    items.sort(key=lambda item: item.path.parent.name not in ("pod", "batteries"))
