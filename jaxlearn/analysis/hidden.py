"""The representations inside a stack of layers."""

from collections.abc import Sequence

from jaxlearn.core import Model, Params, PyTree, State, trees


def hidden_outputs(
    layers: Sequence[Model], params: Params, state: State, x: PyTree
) -> list[PyTree]:
    """What each layer computes in evaluation mode, from the first to the last.

    Args:
        layers: the layers in order; layer i has the weights `params[str(i)]`, as in `core.stack`
            and for the modules of `rules.local_learning`.
        params: of the stack; other entries are left alone.
        state: likewise.
        x: what enters the first layer.

    Example:
        >>> import jax
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks
        >>> x = tiny_batch(4)["inputs"]
        >>> params, state = jax.jit(stack(tiny_blocks()).init)(jax.random.key(0), x)
        >>> [h.shape for h in hidden_outputs(tiny_blocks(), params, state, x)]
        [(4, 12), (4, 12)]
    """
    found = []
    for i, layer in enumerate(layers):
        x, _ = layer.apply(params[str(i)], trees.part(state, str(i)), x)
        found.append(x)
    return found
