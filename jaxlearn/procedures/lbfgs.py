"""L-BFGS to convergence, as one loop that can be compiled, vmapped and shared by devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxlearn.core import PyTree, axis


class Minimum(NamedTuple):
    """Where the minimisation ended.

    Attributes:
        params: the last point, which is the best.
        value: the objective there.
        iterations: done, int32.
    """

    params: PyTree
    value: jax.Array
    iterations: jax.Array


def lbfgs(
    objective: Callable[[PyTree], jax.Array],
    start: PyTree,
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    memory: int = 10,
    line_steps: int = 12,
) -> Minimum:
    """Minimise `objective` along `-H g`, H the limited-memory inverse Hessian of optax.

    Steps fulfil the weak Wolfe conditions, found by doubling and bisection (Lewis & Overton, 2013):
    one evaluation a try, and mostly the first try is taken. The search ends after `max_iterations`,
    or when an iteration lowers the value by no more than `tolerance * |value|`. Inside of
    `shard_map` the objective is this device's mean; value and gradient are averaged over the data
    axis, so that all devices take the same path.

    Args:
        objective: from parameters to a scalar.
        start: where to begin.
        max_iterations: at most.
        tolerance: relative decrease that ends the search.
        memory: pairs that the inverse Hessian is made of.
        line_steps: evaluations per line search, at most.

    Raises:
        ValueError: when a number is below 1.

    Example:
        >>> found = lbfgs(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2))
        >>> found.params.round(4).tolist()
        [3.0, 3.0]
    """
    if min(max_iterations, memory, line_steps) < 1:
        raise ValueError(
            "max_iterations, memory and line_steps must be at least 1, found "
            f"{max_iterations}, {memory} and {line_steps}"
        )
    vector, unpack = ravel_pytree(start)  # one leaf: the recursion costs by the operation
    precondition = optax.scale_by_lbfgs(memory)
    slope = jax.value_and_grad(lambda vector: objective(unpack(vector)))
    evaluate = lambda vector: axis.mean(slope(vector))

    def going(carry) -> jax.Array:
        _, _, value, _, before, count = carry
        return (count < max_iterations) & (before - value > tolerance * jnp.abs(value))

    def advance(carry):
        vector, state, value, grad, _, count = carry
        updates, state = precondition.update(grad, state, vector)
        scaled: Any = updates
        downhill = jnp.vdot(scaled, grad) > 0
        along = -jnp.where(downhill, scaled, grad)
        after = _line_search(evaluate, Point(vector, value, grad), along, line_steps)
        return after.at, state, after.value, after.grad, value, count + 1

    value, grad = evaluate(vector)
    infinite = jnp.full_like(value, jnp.inf)
    begin = (vector, precondition.init(vector), value, grad, infinite, jnp.int32(0))
    vector, _, value, _, _, count = lax.while_loop(going, advance, begin)
    return Minimum(unpack(vector), value, count)


class Point(NamedTuple):
    """A point with the objective's value and gradient there."""

    at: jax.Array
    value: jax.Array
    grad: jax.Array


def _line_search(
    evaluate: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    start: Point,
    along: jax.Array,
    steps: int,
) -> Point:
    """The first point that falls enough and is flat enough, else the lowest one tried."""
    slope = jnp.vdot(start.grad, along)
    # rounding: near the minimum a good step may not lower the value in single precision
    slack = 4 * jnp.finfo(slope.dtype).eps * jnp.abs(start.value)

    def going(carry) -> jax.Array:
        _, _, _, _, done, count = carry
        return ~done & (count < steps)

    def look(carry):
        best, step, low, high, _, count = carry
        at = start.at + step * along
        now = Point(at, *evaluate(at))
        far = ~(now.value <= start.value + 1e-4 * step * slope + slack)  # true for NaN as well
        near = ~far & (jnp.vdot(now.grad, along) < 0.9 * slope)
        best = jax.tree.map(lambda a, b: jnp.where(now.value < best.value, a, b), now, best)
        low, high = jnp.where(near, step, low), jnp.where(far, step, high)
        step = jnp.where(jnp.isinf(high), 2 * low, (low + high) / 2)
        return best, step, low, high, ~far & ~near, count + 1

    one = jnp.ones_like(slope)
    begin = (start, one, 0 * one, jnp.inf * one, jnp.asarray(False), jnp.int32(0))
    return lax.while_loop(going, look, begin)[0]
