"""Floating-point operations of a traced function, loops as often as they run.

XLA's own analysis counts the body of a loop once, and on CPU it sees a program in which
recomputation has been merged away again; the trace has both as they were asked for.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxlearn.models.layers.canonical import CANONICAL, layout

FREE = {
    "and", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "concatenate",
    "convert_element_type", "copy", "copy_p", "dynamic_slice", "dynamic_update_slice", "eq",
    "gather", "ge", "gt", "iota", "le", "lt", "ne", "not", "or", "pad", "random_bits",
    "random_fold_in", "random_split", "random_unwrap", "random_wrap", "reshape", "rev", "scatter",
    "select_n", "slice", "sort", "split", "squeeze", "stop_gradient", "threefry2x32", "top_k",
    "transpose", "xor",
}  # fmt: skip
"""Primitives that move, compare or draw."""


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of one call: two per multiply and add of a product, one per other result.

    Reductions count what they read. Of branches the dearest counts; a `while` of unknown length
    counts once. A device's own work is counted where the function is mapped over devices.

    Args:
        function: to trace.
        arguments: its arguments, arrays or shapes.

    Example:
        >>> x = jax.ShapeDtypeStruct((4, 8), "float32")
        >>> count(lambda x: jax.numpy.tanh(x @ x.T), x)
        272.0
        >>> count(lambda x: jax.lax.scan(lambda c, _: (2 * c, None), x, length=3), x)
        96.0
    """
    return of_traced(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_traced(jaxpr: core.Jaxpr) -> float:
    """The same of a traced program; what is mapped over devices counts for one of them."""
    return float(sum(_equation(equation) for equation in jaxpr.eqns))


def _equation(equation: core.JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        ((contracted, _), _) = params["dimension_numbers"]
        shape = _shape(equation.invars[0])
        return 2 * _size(equation.outvars) * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        numbers, strides = params["dimension_numbers"], params["window_strides"]
        spread, gap = params["lhs_dilation"], params["rhs_dilation"]
        return _convolution(equation, numbers, strides, params["padding"], spread, gap)
    if name == CANONICAL.name:
        numbers = layout(len(params["strides"]))
        spread, gap = params["spread"], params["dilation"]
        return _convolution(equation, numbers, params["strides"], params["padding"], spread, gap)
    inner = [of_traced(jaxpr) for jaxpr in _bodies(params)]
    if name == "cond":
        return max(inner)
    if inner:
        return sum(inner) * params.get("length", 1) * math.prod(_grid(params))
    if name in FREE or not _floating(equation.outvars):
        return 0
    if name.startswith(("reduce_", "cum", "scatter")):
        return _size(equation.invars[-1:] if name.startswith("scatter") else equation.invars)
    return _size(equation.outvars)


def _convolution(equation: core.JaxprEqn, numbers: Any, *window: Any) -> float:
    """Two per product of an entry of the image with one of the kernel; borders of zeros are free.

    So are the zeros between the entries of a dilated image, which the gradient of a stride has.
    """
    image, kernel = (_shape(variable) for variable in equation.invars)
    out = _shape(equation.outvars[0])
    batch, features, *places = (out[axis] for axis in numbers.out_spec)
    _, inputs, *taps = (kernel[axis] for axis in numbers.rhs_spec)
    _, _, *sides = (image[axis] for axis in numbers.lhs_spec)
    found = 2.0 * batch * features * inputs
    axes = zip(places, taps, sides, *window, strict=True)
    for o, k, i, stride, (low, _), spread, gap in axes:
        at = np.arange(o)[:, None] * stride + np.arange(k) * gap - low
        found *= np.sum((at >= 0) & (at <= (i - 1) * spread) & (at % spread == 0))
    return float(found)


def _bodies(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs inside an equation; rules of differentiation are functions, not programs."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else [value]:
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part


def _grid(params: dict[str, Any]) -> tuple[int, ...]:
    """How often a kernel's body runs."""
    return getattr(params.get("grid_mapping"), "grid", ())


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _size(variables: Any) -> int:
    return sum(math.prod(_shape(variable)) for variable in variables)


def _floating(variables: Any) -> bool:
    dtypes = (getattr(variable.aval, "dtype", None) for variable in variables)
    return any(dtype is not None and jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes)
