"""GPU kernel (Pallas through Triton): one program per tile of the result, inputs in a loop.

A tile of x is read once for all branches and multiplied into one tile of sums each. The backward
pass is left to XLA: its products over all examples need sums across programs.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.quadratic.branches import Branches, compute_dtype, there, unpacked

SMALLEST = 16  # of the sides of a tensor-core product


class Plan(NamedTuple):
    """How a layer is cut.

    Attributes:
      rows: examples of a program.
      outputs: outputs of a program.
      inputs: inputs that are multiplied at a time.
      warps: warps of a program.
    """

    rows: int
    outputs: int
    inputs: int
    warps: int


def plan(inputs: int, outputs: int, itemsize: int = 4) -> Plan:
    """Tiles for a layer: three tiles of sums have to fit into the registers.

    >>> plan(64, 64)
    Plan(rows=64, outputs=32, inputs=64, warps=4)
    >>> plan(128, 512)
    Plan(rows=128, outputs=64, inputs=64, warps=8)
    >>> plan(128, 512, itemsize=2)
    Plan(rows=64, outputs=64, inputs=64, warps=4)
    >>> plan(3, 10)
    Plan(rows=64, outputs=16, inputs=16, warps=4)
    """
    side = lambda n, most: min(most, max(SMALLEST, pl.next_power_of_2(n)))
    if itemsize < 4:
        return Plan(64, side(outputs, 64), side(inputs, 64), 4)
    if inputs <= 64:
        return Plan(64, side(outputs, 32), side(inputs, 64), 4)
    return Plan(128, side(outputs, 64), 64, 8)


def pays(inputs: int, outputs: int, itemsize: int) -> bool:
    """Whether the kernel is faster than XLA's two products, as measured on an H100.

    In float32 it takes 0.43 of their time from 64 inputs to 64 outputs and 0.82 from 128 to 128,
    and 2.4 times as long from 512 to 512: such a layer is bound by its products, which cuBLAS makes
    faster. In bfloat16 0.31, 0.27 and 0.71. Where it keeps r and g (0.46 and 0.79 by itself) the
    layer with its gradients takes 1.03 and 1.19 times as long as XLA's; on an H200 1.06 and 1.31,
    and in bfloat16 1.04 and 0.96.
    """
    return max(inputs, outputs) <= (512 if itemsize < 4 else 128)


def _kernel(x_ref, *refs, cut: Plan, branches: tuple[bool, bool], shape: tuple[int, int, int]):
    rows, inputs, outputs = shape
    given, results = unpacked(refs, branches)
    wide = compute_dtype(x_ref.dtype)
    row = pl.program_id(0) * cut.rows + jnp.arange(cut.rows, dtype=jnp.int32)
    column = pl.program_id(1) * cut.outputs + jnp.arange(cut.outputs, dtype=jnp.int32)
    inside = (row < rows)[:, None] & (column < outputs)[None, :]

    def body(step, sums):
        k = step * cut.inputs + jnp.arange(cut.inputs, dtype=jnp.int32)
        here = (row < rows)[:, None] & (k < inputs)[None, :]
        x = plgpu.load(x_ref.at[row[:, None], k[None, :]], mask=here, other=0.0)
        own = (k < inputs)[:, None] & (column < outputs)[None, :]

        def added(name: str, total):
            kernel: Any = getattr(given, name).kernel
            w = plgpu.load(kernel.at[k[:, None], column[None, :]], mask=own, other=0.0)
            left = x * x if name == "b" else x
            return total + jnp.dot(left, w, preferred_element_type=wide)

        return {name: added(name, total) for name, total in sums.items()}

    names = [name for name, branch in given._asdict().items() if branch is not None]
    zeros = {name: jnp.zeros((cut.rows, cut.outputs), wide) for name in names}
    sums = jax.lax.fori_loop(0, pl.cdiv(inputs, cut.inputs), body, zeros)

    def finished(name: str):
        bias: Any = getattr(given, name).bias
        found = plgpu.load(bias.at[column], mask=column < outputs, other=0.0)
        return sums[name] + found.astype(wide)[None, :]

    r = y = finished("r")
    kept = ()
    if given.g is not None:
        g = finished("g")
        y, kept = r * g, (r, g)
    if given.b is not None:
        y += finished("b")
    for ref, value in zip(results, (y, *kept), strict=False):
        place = ref.at[row[:, None], column[None, :]]
        plgpu.store(place, value.astype(ref.dtype), mask=inside)


@partial(jax.jit, static_argnames=("save", "cut", "interpret"))
def forward(
    x: jax.Array,
    branches: Branches,
    *,
    save: bool,
    cut: Plan | None = None,
    interpret: bool = False,
) -> tuple[jax.Array, ...]:
    """``(y [N, m],)``, and with ``save`` r and g ``[N, m]`` as second and third."""
    (rows, inputs), outputs = x.shape, branches.r.bias.shape[0]
    cut = cut or plan(inputs, outputs, x.dtype.itemsize)
    count = 3 if save and branches.g is not None else 1
    return tuple(
        pl.pallas_call(
            partial(_kernel, cut=cut, branches=there(branches), shape=(rows, inputs, outputs)),
            out_shape=[jax.ShapeDtypeStruct((rows, outputs), x.dtype)] * count,
            grid=(pl.cdiv(rows, cut.rows), pl.cdiv(outputs, cut.outputs)),
            compiler_params=plgpu.CompilerParams(num_warps=cut.warps, num_stages=2),
            interpret=interpret,
        )(x, *jax.tree.leaves(branches))
    )
