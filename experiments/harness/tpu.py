"""Compile a training step for a TPU pod that is not here, and read what the compiler promises."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.harness import collectives, flops
from experiments.harness.experiment import Program

ENVIRONMENT: Mapping[str, str] = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""What libtpu must find in the environment to compile on a machine without a TPU."""


def mesh_of(topology: str, model: int | None = None) -> Any:
    """Return the mesh of a topology such as "v5e:16x16", as `data_mesh` makes it.

    Raises ValueError for a topology the compiler does not know, or where libtpu is missing.
    """
    from jax.experimental import topologies

    from jaxlearn.runtime import data_mesh

    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except ModuleNotFoundError as error:
        raise ValueError(_MISSING) from error
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ValueError(_explain(topology, error)) from error
    return data_mesh(found, model=model)


_MISSING = "compiling for a TPU needs the package libtpu: pip install 'jaxlearn[tpu-compile]'"


def _explain(topology: str, error: Exception) -> str:
    from importlib.util import find_spec

    if find_spec("libtpu") is None:
        return _MISSING
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "refused"
    return f"topology {topology!r} is not known to libtpu (like v5e:16x16, v5p:4x4x4): {reason}"


def trace_step(program: Program, mesh: Any) -> Any:
    """Trace a program over the devices of `mesh` and return JAX's traced object."""
    import jax
    from jax.sharding import NamedSharding

    from jaxlearn.runtime.parallel import batch_specs, shared_step
    from jaxlearn.runtime.sharding import layout, places

    _check_divides(program.batch, mesh.shape["data"])

    def place(leaf: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    specs = batch_specs(program.batch)
    state = jax.tree.map(place, program.state, places(program.state, mesh))
    batch = jax.tree.map(lambda x, s: place(x, NamedSharding(mesh, s)), program.batch, specs)
    return shared_step(program.step, mesh).trace(layout(state, mesh), state, batch)


def compile_step(traced: Any) -> tuple[Any, str]:
    """Compile what was traced for TPU; return JAX's compiled object and the program it became.

    The compiler writes that program itself: what it has in it may be newer than what jaxlib reads.

    Raises ValueError when it wrote none, as for a program out of a compilation cache.
    """
    with TemporaryDirectory() as folder:
        options = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        compiled = traced.lower(lowering_platforms=("tpu",)).compile(compiler_options=options)
        files = sorted(Path(folder).glob("*.after_optimizations.txt"))
        if not files:
            raise ValueError(
                "the TPU's compiler wrote no program to count collectives in; run without a "
                "compilation cache (JAX_COMPILATION_CACHE_DIR)"
            )
        return compiled, "\n".join(file.read_text() for file in files)


def _check_divides(batch: Mapping[str, Any], devices: int) -> None:
    """Refuse a batch whose examples cannot be shared out evenly."""
    import jax

    for name, tree in batch.items():
        for leaf in jax.tree.leaves(tree) if name != "context" else []:
            size = leaf.shape[0] if leaf.shape else 0
            if size == 0 or size % devices:
                raise ValueError(
                    f"batch[{name!r}] has {size} examples, which {devices} devices cannot share "
                    "evenly; choose a batch that is a multiple of the devices"
                )


def figures(compiled: Any, text: str) -> dict[str, Any]:
    """Return memory, bytes moved, collectives and kernels of a compiled program, per device.

    Kernels are calls of code that was written for the chip. Bytes and kernels in a loop are counted
    once.
    """
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    return {
        "temp_bytes": int(memory.temp_size_in_bytes),
        "argument_bytes": int(memory.argument_size_in_bytes),
        "bytes": float(costs.get("bytes accessed", 0.0)),
        "collectives": collectives.count(text),
        "collective_bytes": collectives.sizes(text),
        "kernels": text.count('custom_call_target="tpu_custom_call"'),
    }


def compile_program(
    program: Program, topology: str = "v5e:16x16", model: int | None = None
) -> dict[str, Any]:
    """Compile one data-parallel step for a whole topology and return the JSON of `compile`.

    With `model` so many devices share one copy of the state.

    In a process of your own, put `ENVIRONMENT` into `os.environ` before JAX is imported.
    """
    mesh = mesh_of(topology, model)
    traced = trace_step(program, mesh)
    # the compiler shares out along the axis of the model what the trace has whole
    operations = {"flops": flops.of_traced(traced.jaxpr.jaxpr) / (model or 1)}
    shared = {} if model is None else {"model": model}
    found = operations | figures(*compile_step(traced))
    return {"topology": topology, "devices": mesh.size, **shared, **found}


def tpu_memory(step: Callable[..., Any], state: Any, batch: Mapping[str, Any]) -> int:
    """Return the temp bytes of a step compiled for a single TPU v5e chip.

    They count main memory only: what fits into the chip's vector memory (some MiB per array) costs
    none, so compare steps whose activations are large.
    """
    mesh = mesh_of("v5e:1x1")
    traced = trace_step(Program(step, state, batch), mesh)
    compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)
