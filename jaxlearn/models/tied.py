"""Language models whose logits use the matrix of the token embedding."""

from collections.abc import Sequence

import jax

from jaxlearn.core import Key, Model, Params, PyTree, State, stack

EMBEDDING = ("0", "token")
HEAD = "head"


def tied(blocks: Sequence[Model]) -> Model:
    """`stack(blocks)` without a head of its own: `logits = norm(x) token^T`.

    Args:
        blocks: the first has a parameter `token [vocabulary, width]`, the last a layer `head` with
            a `kernel [width, vocabulary]` and no bias, which is left out of the parameters.

    Example:
        >>> from jaxlearn.models.opt import opt_blocks
        >>> tokens = jax.numpy.zeros((1, 4), int)
        >>> model = tied(opt_blocks(11, 1, 8, longest=4, heads=2))
        >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), tokens)
        >>> sorted(params["2"])
        ['norm']
    """
    whole, last = stack(blocks), str(len(blocks) - 1)

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = whole.init(key, x)
        return params | {last: {k: v for k, v in params[last].items() if k != HEAD}}, state

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        return whole.apply(untied(params, last), state, x, train=train, key=key)

    return Model(init, apply)


def untied(params: Params, last: str | None = None) -> Params:
    """The parameters of `stack(blocks)` out of those of `tied(blocks)`: the head is a copy.

    What changes the head of a tied network alone, such as training it, needs this first.

    Args:
        params: of the tied network, or of one that has its head already.
        last: the name of the last block; the largest number by default.
    """
    last = str(max(map(int, params))) if last is None else last
    if HEAD in params[last]:
        return params
    block, name = EMBEDDING
    return params | {last: {**params[last], HEAD: {"kernel": params[block][name].T}}}


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small OPT with one matrix for both ends."""
    from jaxlearn.models.opt import opt_blocks

    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    return {"tied": (tied(opt_blocks(11, 1, 8, longest=6, heads=2)), tokens)}
