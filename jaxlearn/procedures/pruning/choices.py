"""Which weights of a matrix stay, by their scores `[inputs, outputs]`: `choice(scores) -> keep`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.transforms.sparsity import structured
from jaxlearn.transforms.sparsity.keep import largest_per_output
from jaxlearn.transforms.sparsity.select import largest

Choice = Callable[[jax.Array], jax.Array]


def unstructured(sparsity: float, *, parity: bool = False) -> Choice:
    """Drop the `floor(s n m)` smallest scores of the whole matrix.

    With `parity` drop all scores up to and including the one at place `floor(s n m)` of the sorted
    scores, one more where no two are equal: what the released code of PERP, Wanda and SparseGPT
    does.

    Args:
        sparsity: `s` in [0, 1).
        parity: as said.

    Raises:
        ValueError: for a sparsity outside [0, 1).

    Example:
        >>> unstructured(0.5)(jnp.array([[1.0, 4.0], [3.0, 2.0]])).tolist()
        [[False, True], [True, False]]
    """
    _check(sparsity)

    def choose(scores: jax.Array) -> jax.Array:
        kept = scores.size - int(sparsity * scores.size)
        return largest([scores], kept, [jnp.ones(scores.shape, bool)], strict=parity)[0]

    return choose


def row_wise(sparsity: float) -> Choice:
    """Drop the `floor(s inputs)` smallest scores of every output: Wanda's comparison groups.

    Raises:
        ValueError: for a sparsity outside [0, 1).

    Example:
        >>> row_wise(0.5)(jnp.array([[1.0, 9.0], [3.0, 8.0]])).tolist()
        [[False, True], [True, False]]
    """
    _check(sparsity)
    return lambda scores: largest_per_output(scores, len(scores) - int(sparsity * len(scores)))


def n_of_m(n: int, m: int) -> Choice:
    """Drop the `n` smallest scores of every `m` consecutive inputs of an output: 2:4, 4:8.

    Raises:
        ValueError: unless `0 < n < m`; at the call, when m does not divide the inputs.

    Example:
        >>> n_of_m(1, 2)(jnp.array([[1.0, 9.0], [3.0, 8.0]])).tolist()
        [[False, True], [True, False]]
    """
    if not 0 < n < m:
        raise ValueError(f"n:m needs 0 < n < m, found {n}:{m}")

    return lambda scores: structured.n_of_m(scores, m - n, m)


def _check(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), found {sparsity}")
