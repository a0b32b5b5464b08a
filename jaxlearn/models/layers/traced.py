"""Linear blocks whose weights are taught by a decaying trace of their input.

Xiao, Meng, Zhang, He and Lin, "Online Training Through Time for Spiking Neural Networks", NeurIPS
2022, arXiv 2210.04195.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import SEQUENCE, Model, Params, PyTree, State, trees

BLOCK, TRACE = "block", "trace"
"""Names of the two parts of a traced block's state."""


def traced(block: Model, decay: float) -> Model:
    """The same block, the gradient of whose parameters is taken at the trace of its input.

    ::

        a[t] = decay a[t-1] + x[t]
        y[t] = W x[t],   dL/dW = dL/dy[t] a[t]^T,   dL/dx[t] = W^T dL/dy[t]

    The trace is a constant in the backward pass and lives in the collection `"sequence"`. It stands
    for the history that neurons after the block still remember: for one layer of neurons with this
    decay and a soft reset that is detached, the sum over t is the gradient of backpropagation
    through time.

    Args:
        block: linear in its input, or affine (a bias is taught as without a trace).
        decay: of the neurons after the block.

    Raises:
        ValueError: when `decay` is not in [0, 1].

    Example:
        >>> from jaxlearn.models.tiny import tiny_head
        >>> block = traced(tiny_head(), 0.5)
        >>> params, state = jax.jit(block.init)(jax.random.key(0), jnp.ones((1, 2)))
        >>> _, state = jax.jit(block.apply)(params, state, jnp.ones((1, 2)))
        >>> _, state = jax.jit(block.apply)(params, state, jnp.ones((1, 2)))
        >>> state["sequence"]["trace"].tolist()
        [[1.5, 1.5]]
    """
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay must lie in [0, 1], found {decay}; use 1 - 1/tau")

    def init(key: jax.Array, x: jax.Array) -> tuple[Params, State]:
        params, state = block.init(key, x)
        return params, trees.joined({BLOCK: state, TRACE: {SEQUENCE: _start(x)}})

    def apply(params: Params, state: State, x: jax.Array, *, train: bool = False, key=None):
        own = trees.part(state, BLOCK)
        before = state[SEQUENCE][TRACE] if SEQUENCE in state else _start(x)
        trace = decay * before + lax.stop_gradient(x)
        at = _replaced(x, trace.astype(x.dtype))
        # of this application only the derivative is used: for linear maps it needs no output
        taught, _ = block.apply(params, own, at, train=train, key=key)
        still = lax.stop_gradient(params)
        seen, own = block.apply(still, own, lax.stop_gradient(x), train=train, key=key)
        y: PyTree = jax.tree.map(_replaced, taught, seen)
        return y, trees.joined({BLOCK: own, TRACE: {SEQUENCE: trace}})

    return Model(init, apply)


def _start(x: jax.Array) -> jax.Array:
    return jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_jvp
def _replaced(graded: jax.Array, value: jax.Array) -> jax.Array:
    """`value`, with the derivative of `graded`."""
    del graded
    return value


@_replaced.defjvp
def _replaced_jvp(primals, tangents):
    return _replaced(*primals), tangents[0]
