"""Train the parts of a network one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlearn.core import PyTree, trees


def in_turn(
    inner: optax.GradientTransformation, turn: Callable[[str], int], turns: int, steps: int
) -> optax.GradientTransformation:
    """Let part k of the parameters move during steps `k steps … (k + 1) steps - 1` only.

    Every part has its own state of `inner`, which starts when its turn comes; the last part's turn
    has no end. With a rule that passes no gradient between layers, such as target projection or
    greedy learning, it is layer-by-layer training: a layer is finished before the next one starts.

    Args:
        inner: the transformation of the part whose turn it is.
        turn: from the path of a parameter (`"0/kernel"`) to its part, `0 … turns - 1`.
        turns: number of parts.
        steps: length of a turn.

    Raises:
        ValueError: when a number is below 1; at initialisation, for a parameter outside the turns.

    Example:
        >>> tx = in_turn(optax.sgd(1.0), lambda path: int(path), 2, steps=3)
        >>> params = {"0": 0.0, "1": 0.0}
        >>> tx.update({"0": 1.0, "1": 1.0}, tx.init(params), params)[0]["0"].item()
        -1.0
    """
    if min(turns, steps) < 1:
        raise ValueError(f"turns and steps must be at least 1, found {turns} and {steps}")

    def part(k: int) -> optax.GradientTransformation:
        def due(step: ArrayLike, **_: Any) -> jax.Array:
            return jnp.minimum(jnp.asarray(step, jnp.int32) // steps, turns - 1) == k

        return optax.conditionally_mask(inner, due)

    def label(params: PyTree) -> PyTree:
        return jax.tree.map_with_path(lambda keys, _: checked(trees.path(keys)), params)

    def checked(path: str) -> int:
        found = turn(path)
        if not 0 <= found < turns:
            raise ValueError(f"{path} has turn {found}, expected 0 to {turns - 1}")
        return found

    return optax.partition({k: part(k) for k in range(turns)}, label)


def examples() -> dict[str, optax.GradientTransformation]:
    """Biases before everything else, whose turn has no end."""
    return {"in-turn": in_turn(optax.sgd(0.03), lambda path: int(not path.endswith("bias")), 2, 30)}
