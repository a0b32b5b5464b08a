"""What enters the linear layers of a network: the statistics that Wanda and SparseGPT prune by."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, Params, PyTree, State


class Inputs(NamedTuple):
    """Sums over the inputs of one layer.

    Attributes:
        gram: `X^T X [inputs, inputs]`, over all tokens of all sequences.
        sequences: how many there were.
    """

    gram: jax.Array
    sequences: jax.Array


def linear_inputs(model: Model, params: Params, state: State, x: PyTree) -> dict[str, Inputs]:
    """The sums for every `linen.Dense` of a model, by the path of its kernel.

    Args:
        model: of Linen modules.
        params: of the model.
        state: of the model.
        x: a batch of sequences, `[sequences, ...]`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks
        >>> block, x = tiny_blocks()[0], tiny_batch(4)["inputs"]
        >>> found = linear_inputs(block, *jax.jit(block.init)(jax.random.key(0), x), x)
        >>> {path: inputs.gram.shape for path, inputs in found.items()}
        {'Dense_0/kernel': (16, 16)}
    """
    found: dict[str, Inputs] = {}

    def look(function, args, kwargs, context):
        layer = context.module
        if isinstance(layer, linen.Dense) and context.method_name == "__call__":
            rows = args[0].reshape(-1, args[0].shape[-1]).astype(jnp.float32)
            count = jnp.float32(len(args[0]))
            found["/".join([*layer.path, "kernel"])] = Inputs(rows.T @ rows, count)
        return function(*args, **kwargs)

    with linen.intercept_methods(look):
        model.apply(params, state, x)
    return found
