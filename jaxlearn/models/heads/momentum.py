"""A head behind a slowly moving copy of the network's next block (MAN; Su et al., ECCV 2024)."""

from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import MOMENTUM, Key, Model, Params, PyTree, State, trees

Bias = Literal["block", "vector", "none"]


@lru_cache
def momentum_head(block: Model, head: Model, *, copy: bool = True, bias: Bias = "block") -> Model:
    """`head(u)` with `u = bias(h) + block(h; e)`, where `e` is state and not a parameter.

    `e` (collection `"momentum"`) has the shape of the parameters of the block that follows `h` in
    the network; whoever trains moves it. The gradient passes through the copy to `h` but stops at
    `e`. The copy normalises with the statistics of its own inputs.

    Args:
        block: the architecture of the next block, stride and shortcut included.
        head: from the next block's output to the local loss.
        copy: False leaves the copy out: `u = bias(h)`.
        bias: `"block"` is a trained block of the same architecture (the authors' code), `"vector"`
            one trained number per channel (the paper's text), `"none"` nothing. Without a copy,
            `"vector"` is added to `h` itself and `"none"` leaves `u = h`.

    Raises:
        ValueError: when the bias is none of the three.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> head = momentum_head(tiny_blocks()[0], tiny_head())
        >>> params, state = jax.jit(head.init)(jax.random.key(0), jnp.ones((2, 12)))
        >>> sorted(params), sorted(state["momentum"])
        (['bias', 'head'], ['copy'])
    """
    if bias not in ("block", "vector", "none"):
        raise ValueError(f"bias must be 'block', 'vector' or 'none', found {bias!r}")
    blocks = [name for name, there in (("copy", copy), ("bias", bias == "block")) if there]

    def init(key: Key, h: PyTree) -> tuple[Params, State]:
        *keys, head_key = jax.random.split(key, len(blocks) + 1)
        params, states = {}, {}
        for name, own in zip(blocks, keys, strict=True):
            params[name], states[name] = block.init(own, h)
        if copy:
            states["copy"] = states["copy"] | {MOMENTUM: params.pop("copy")}
        u, _ = added(params, trees.joined(states), h, False, [None] * len(blocks))
        if bias == "vector":
            params["bias"] = jnp.zeros(u.shape[-1], u.dtype)
        params["head"], states["head"] = head.init(head_key, u)
        return params, trees.joined(states)

    def added(params: Params, state: State, h: PyTree, train: bool, keys):
        """The sum of the blocks, `h` if there are none, and the blocks' states."""
        terms, states = [], {}
        for name, key in zip(blocks, keys, strict=True):
            own = trees.part(state, name)
            weights = lax.stop_gradient(own.pop(MOMENTUM)) if name == "copy" else params[name]
            y, new = block.apply(weights, own, h, train=train, key=key)
            terms.append(y)
            states[name] = new | ({MOMENTUM: state[MOMENTUM][name]} if name == "copy" else {})
        return sum(terms[1:], start=terms[0]) if terms else h, states

    def apply(params: Params, state: State, h: PyTree, *, train: bool = False, key=None):
        count = len(blocks) + 1
        *keys, head_key = [None] * count if key is None else jax.random.split(key, count)
        u, states = added(params, state, h, train, keys)
        u = u + params["bias"] if bias == "vector" else u
        own = trees.part(state, "head")
        out, states["head"] = head.apply(params["head"], own, u, train=train, key=head_key)
        return out, trees.joined(states)

    return Model(init, apply)
