"""Which weights of a matrix stay, by their scores `[inputs, outputs]`: `choice(scores) -> keep`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

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
        flat = scores.ravel()
        cut = int(sparsity * flat.size)
        if parity:
            return scores > jnp.sort(flat)[cut]
        return (_ranks(flat) >= cut).reshape(scores.shape)

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
    return lambda scores: _ranks(scores, 0) >= int(sparsity * len(scores))


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

    def choose(scores: jax.Array) -> jax.Array:
        if len(scores) % m:
            raise ValueError(f"{n}:{m} needs inputs in groups of {m}, found {len(scores)} inputs")
        groups = scores.reshape(-1, m, *scores.shape[1:])
        return (_ranks(groups, 1) >= n).reshape(scores.shape)

    return choose


def _ranks(scores: jax.Array, axis: int = 0) -> jax.Array:
    """The place of every score when sorted; of equal ones the earlier has the lower."""
    return jnp.argsort(jnp.argsort(scores, axis, stable=True), axis, stable=True)


def _check(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), found {sparsity}")
