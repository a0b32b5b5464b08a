"""A model as a stack of blocks."""

from collections.abc import Sequence

import jax

from jaxlearn.core import trees
from jaxlearn.core.contracts import Key, Model, Params, PyTree, State


def stack(blocks: Sequence[Model]) -> Model:
    """Apply blocks one after the other: `y = block_n(... block_0(x))`.

    Parameters and every state collection are dictionaries by the block's number as text, so the
    weights of block 2 are `params["2"]` here and in every rule over the same blocks.
    """

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, states = {}, {}
        for i, block in enumerate(blocks):
            params[str(i)], states[str(i)] = block.init(jax.random.fold_in(key, i), x)
            x, _ = block.apply(params[str(i)], states[str(i)], x)
        return params, trees.joined(states)

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        states = {}
        for i, block in enumerate(blocks):
            own = None if key is None else jax.random.fold_in(key, i)
            sub = trees.part(state, str(i))
            x, states[str(i)] = block.apply(params[str(i)], sub, x, train=train, key=own)
        return x, trees.joined(states)

    return Model(init, apply)
