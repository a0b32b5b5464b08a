"""Time of the sparse product beside XLA's own gather and segment sum, as JSON lines.

::

    python -m jaxlearn_kernels.spmm.bench [--quick] [--tune]

One line per size, part and implementation: median milliseconds of one operation, from a compiled
chain of several so that the time to launch is hidden; the megabytes the operation has to move and
the rate that makes; temporaries of the compiled chain; the deviation from the reference; whether
two runs gave the same bits. ``csr`` is the library that JAX hands a CSR product to (cuSPARSE on
CUDA, Eigen on CPU). On CPU, PyTorch's CSR product stands beside it where PyTorch is installed.
``--quick`` takes the first size and three runs; ``--tune`` times the GPU kernel's product for a
grid of plans instead. Exit status 1: a deviation above the tolerance.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn_kernels.comparison import deviation, medians
from jaxlearn_kernels.spmm import Epilogue, Implementation, Sparse, pallas_gpu, spmm
from jaxlearn_kernels.spmm.shapes import BENCH, Shape, random_graph

CHAIN = 10
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
LAYER = Epilogue(relu=True, normalize=True, squared_norm=True)
FLAG = "jax_bcoo_cusparse_lowering"  # how JAX is told to hand CSR products to cuSPARSE


def minimal_bytes(shape: Shape, itemsize: int, *, messages: bool = False) -> int:
    """Bytes one product moves: a row of x, a column and a value per entry, and the result.

    Rows of x that a cache still holds come from there, so a rate above that of the memory is
    possible. With ``messages`` also the ``[E, d]`` float32 array that gather and segment sum put
    between them where the compiler does not fuse the two, written and read.

    >>> (
    ...     minimal_bytes(Shape("", 2, 2, 3, 4), 4),
    ...     minimal_bytes(Shape("", 2, 2, 3, 4), 4, messages=True),
    ... )
    (104, 200)
    """
    entry = shape.width * itemsize + 8
    between = 2 * 4 * shape.entries * shape.width if messages else 0
    return shape.entries * entry + shape.rows * shape.width * itemsize + between


def product(name: Implementation | None, matrix: Sparse, x: jax.Array, bias: jax.Array):
    """The product alone; the bias is ignored."""
    return spmm(matrix, x, implementation=name)


def layer(name: Implementation | None, matrix: Sparse, x: jax.Array, bias: jax.Array):
    """Product, row scale, bias, ReLU and row norm; the squared norms join so that they stay."""
    scale = matrix.values[: matrix.shape[0]]
    y, squares = spmm(matrix, x, epilogue=LAYER, scale=scale, bias=bias, implementation=name)
    return y + (1e-6 * squares)[:, None].astype(y.dtype)


def chain(step: Callable) -> Callable:
    """``CHAIN`` steps, each on the result of the one before."""

    def run(matrix, x, bias):
        for _ in range(CHAIN):
            x = step(matrix, x, bias)
        return x

    return run


def gradient(run: Callable, *, of_values: bool) -> Callable:
    """The gradient of ``sum sin(run(...))`` for x and bias, and for the values if asked."""

    def loss(values, x, bias, matrix):
        return jnp.sum(jnp.sin(run(matrix._replace(values=values), x, bias).astype(jnp.float32)))

    wanted = (0, 1, 2) if of_values else (1, 2)
    return lambda matrix, x, bias: jax.grad(loss, wanted)(matrix.values, x, bias, matrix)


PARTS: dict[str, Callable[[Implementation | None], Callable]] = {
    "product": lambda name: chain(partial(product, name)),
    "layer": lambda name: chain(partial(layer, name)),
    "layer and gradient": lambda name: gradient(chain(partial(layer, name)), of_values=False),
    "product and gradient with values": lambda name: gradient(
        chain(partial(product, name)), of_values=True
    ),
}


def implementations() -> dict[str, Implementation | None]:
    """What is compared on the default device; None is what the library picks there."""
    both: dict[str, Implementation | None] = {"picked": None, "segments": "reference"}
    return both if jax.default_backend() != "gpu" else both | {"csr": "csr"}


def compile_part(part: str, name: Implementation | None, arguments: tuple) -> Callable:
    """The compiled chain; ``csr`` with the CSR library switched on."""
    library = name == "csr" and hasattr(jax.config, FLAG)
    if library:
        jax.config.update(FLAG, True)
    try:
        return jax.jit(PARTS[part](name)).lower(*arguments).compile()
    finally:
        if library:
            jax.config.update(FLAG, False)


def same_bits(first: Any, second: Any) -> bool:
    """Whether two trees are equal, bit by bit."""
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(bool(jnp.array_equal(a, b)) for a, b in leaves)


def arguments_of(shape: Shape, dtype: str) -> tuple[Sparse, jax.Array, jax.Array]:
    """Graph, x and bias of a case, on the default device."""
    keys = jax.random.split(jax.random.key(1))
    # far from 0 on average, so that averages over neighbours stay of one size along a chain
    x = jax.random.uniform(keys[0], (shape.columns, shape.width), dtype)
    bias = 0.1 * jax.random.normal(keys[1], (shape.width,), dtype)
    return jax.block_until_ready((jax.jit(partial(random_graph, shape))(), x, bias))


def bench_part(part: str, shape: Shape, dtype: str, runs: int) -> Iterator[dict[str, Any]]:
    """One row per implementation that compiles here."""
    arguments = arguments_of(shape, dtype)
    base = {"part": part, "size": shape.name, "nodes": shape.rows, "entries": shape.entries}
    base |= {"width": shape.width, "dtype": dtype, "device": jax.devices()[0].device_kind}
    compiled, results = {}, {}
    for label, name in implementations().items():
        try:
            compiled[label] = compile_part(part, name, arguments)
            results[label] = jax.block_until_ready(compiled[label](*arguments))
        except jax.errors.JaxRuntimeError as error:  # a kernel this device refuses is a finding
            compiled.pop(label, None)
            yield base | {"implementation": label, "refused": str(error).splitlines()[0]}
    times = medians(compiled, arguments, runs)
    itemsize = jnp.dtype(dtype).itemsize
    for label, run in compiled.items():
        ms = times[label] / CHAIN
        row = base | {"implementation": label, "ms": round(ms, 4)}
        row["over_segments"] = round(times["segments"] / times[label], 2)
        if "gradient" not in part:
            moved = minimal_bytes(shape, itemsize)
            row |= {"megabytes": moved / 1e6, "gigabytes_per_s": round(moved / ms / 1e6, 1)}
            split = minimal_bytes(shape, itemsize, messages=True)
            row["megabytes_with_messages"] = split / 1e6
        row["temporary_megabytes"] = run.memory_analysis().temp_size_in_bytes / 1e6
        row["deviation"] = deviation(results[label], results["segments"])
        row["same_bits"] = same_bits(results[label], run(*arguments))
        yield row


def bench_torch(shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """PyTorch's CSR product and the same one of this library, alternating on the CPU.

    Only where PyTorch is installed: it is no dependency, so it is looked for by name.
    """
    try:
        torch = __import__("torch")
    except ImportError:
        return
    matrix, x, _ = arguments_of(shape, "float32")
    parts = (matrix.pattern.indptr, matrix.pattern.indices, matrix.values, x)
    indptr, indices, values, dense = (torch.from_dlpack(part) for part in parts)
    theirs = torch.sparse_csr_tensor(indptr, indices, values, matrix.shape)
    ours = jax.jit(spmm)
    found = torch.from_dlpack(ours(matrix, x))
    error = float((found - theirs @ dense).abs().max() / found.abs().max())
    runners = {"picked": lambda: ours(matrix, x), "torch": lambda: theirs @ dense}
    times = medians(runners, (), runs)
    row = {"part": "product, single calls", "size": shape.name, "width": shape.width}
    row |= {"nodes": shape.rows, "entries": shape.entries, "threads": torch.get_num_threads()}
    for label, ms in times.items():
        yield row | {"implementation": label, "ms": round(ms, 4), "deviation": error}


def tune(shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """Time of the GPU kernel's product for a grid of plans, the fastest last."""
    matrix, x, _ = arguments_of(shape, "float32")
    grid = itertools.product((8, 16, 32), (1, 2), (32, 64, 128))
    columns = min(512, 1 << (shape.width - 1).bit_length())
    plans = [pallas_gpu.Plan(entries, columns, warps, block) for entries, warps, block in grid]

    def run(cut: pallas_gpu.Plan, x: jax.Array) -> jax.Array:
        options = {"epilogue": Epilogue(), "dtype": jnp.dtype(x.dtype), "cut": cut}
        for _ in range(CHAIN):
            (x,) = pallas_gpu.forward(matrix.pattern, matrix.values, x, None, None, **options)
        return x

    times = medians({str(cut): jax.jit(partial(run, cut)) for cut in plans}, (x,), runs)
    chosen = pallas_gpu.plan(shape.rows, shape.entries, shape.width)
    for cut in sorted(plans, key=lambda cut: -times[str(cut)]):
        row = {"size": shape.name, "plan": cut._asdict(), "chosen": cut == chosen}
        yield row | {"ms": round(times[str(cut)] / CHAIN, 4)}


def main(arguments: list[str]) -> int:
    """Print the rows; 0, or 1 if a result deviates from the reference."""
    quick = "--quick" in arguments
    shapes = BENCH[:1] if quick else BENCH
    runs = 3 if quick or jax.default_backend() == "cpu" else 10
    worst = 0.0
    if "--tune" in arguments:
        for shape in shapes if quick else BENCH[1:]:
            for row in tune(shape, runs):
                print(json.dumps(row), flush=True)
        return 0
    cases = [(shape, "float32", part) for shape in shapes for part in PARTS]
    cases += [(shapes[-1], "bfloat16", part) for part in ("product", "layer")]
    for shape, dtype, part in cases:
        for row in bench_part(part, shape, dtype, runs):
            print(json.dumps(row), flush=True)
            worst = max(worst, row.get("deviation", 0.0) / TOLERANCE[dtype])
    if jax.default_backend() == "cpu":
        for shape in shapes:
            for row in bench_torch(shape, runs):
                print(json.dumps(row), flush=True)
                worst = max(worst, row["deviation"] / TOLERANCE["float32"])
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
