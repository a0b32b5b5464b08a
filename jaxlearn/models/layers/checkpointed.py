"""Recomputing instead of storing."""

import jax

from jaxlearn.core import Model, Params, PyTree, State


def checkpointed(model: Model) -> Model:
    """The same model, whose backward pass recomputes what is inside from the model's input.

    Applied to every block of a `stack`, the memory of a training step grows with the blocks'
    outputs alone, for one more forward pass (Chen et al., 2016, arXiv 1604.06174).

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> lean = stack([*map(checkpointed, tiny_blocks()), tiny_head()])
    """

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        def whole(params: Params, state: State, x: PyTree, key):
            return model.apply(params, state, x, train=train, key=key)

        return jax.checkpoint(whole)(params, state, x, key)

    return model._replace(apply=apply)
