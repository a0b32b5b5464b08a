"""One level of magnitude pruning: a fraction of the weights that are left.

Frankle, Dziugaite, Roy & Carbin, "Stabilizing the Lottery Ticket Hypothesis", arXiv 1903.01611.
"""

from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp

from jaxlearn.core import Params, trees
from jaxlearn.transforms.sparsity import prunable as leaves
from jaxlearn.transforms.sparsity.prunable import Masks
from jaxlearn.transforms.sparsity.select import largest, largest_each

FINEST = 20_000
"""The largest denominator: the square of twice of it, for rounding halves, fits 31 bits."""


def prune_globally(
    params: Params,
    masks: Masks,
    fraction: float,
    *,
    strict_threshold: bool = False,
    exempt_weights: int = 0,
    levels: int = 1,
) -> Masks:
    """Remove the `ceil(p N)` smallest `|w|` of the N weights that are left in all layers together.

    Masks are nested: only active weights are compared, without any normalisation. Leaves without a
    mask are not touched; a layer may lose all its weights.

    Args:
        params: the trained weights.
        masks: what is active.
        fraction: p, 0.2 in the paper; taken as the fraction it is written as, with a denominator
            of up to 20,000.
        strict_threshold: keep what is larger than the first weight that stays otherwise, as the
            released code does: one more goes, under ties more.
        exempt_weights: of layers without a mask that count in N, as exempt layers do in the
            released code.
        levels: prune as much at once as so many prunings in a row would.

    Raises:
        ValueError: for a fraction out of range.

    Example:
        >>> params = {"a": jnp.array([[1.0, -4.0]]), "b": jnp.array([[3.0, 2.0]])}
        >>> masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), params)
        >>> prune_globally(params, masks, 0.5)
        {'a': Array([[False,  True]], dtype=bool), 'b': Array([[ True, False]], dtype=bool)}
    """
    share = _share(fraction)
    active = jax.tree.leaves(masks)
    left = jnp.sum(jnp.stack([jnp.sum(mask, dtype=jnp.int32) for mask in active]))
    for _ in range(levels):
        left = jnp.maximum(left + _floor(-share, left + exempt_weights), 0)
    scores = [jnp.abs(weight) for weight in leaves.beside(params, masks)]
    found = largest(scores, left, active, strict=strict_threshold)
    return jax.tree.unflatten(jax.tree.structure(masks), found)


def prune_layerwise(
    params: Params,
    masks: Masks,
    fraction: float | Callable[[str], float],
    *,
    strict_threshold: bool = False,
) -> Masks:
    """Remove the `round(p_l n_l)` smallest `|w|` of the n_l that are left in every layer.

    Frankle & Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, section 2.

    Args:
        params: the trained weights.
        masks: what is active.
        fraction: p, or p by the path of the leaf.
        strict_threshold: remove what is not larger than the first weight that stays otherwise, as
            the released code does.

    Raises:
        ValueError: for a fraction out of range.

    Example:
        >>> params = {"a": jnp.array([[1.0, -4.0]]), "b": jnp.array([[8.0, 7.0]])}
        >>> masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), params)
        >>> prune_layerwise(params, masks, lambda path: 0.5 if path == "b" else 0.0)["b"]
        Array([[ True, False]], dtype=bool)
    """
    by_path = fraction if callable(fraction) else lambda path: fraction
    places = leaves.beside(jax.tree.map_with_path(lambda keys, _: trees.path(keys), params), masks)
    active = jax.tree.leaves(masks)
    left = [jnp.sum(mask, dtype=jnp.int32) for mask in active]
    half = Fraction(1, 2)
    keep = [
        n - _floor(_share(by_path(place)), n, half) for place, n in zip(places, left, strict=True)
    ]
    scores = [jnp.abs(weight) for weight in leaves.beside(params, masks)]
    found = largest_each(scores, keep, active, strict=strict_threshold)
    return jax.tree.unflatten(jax.tree.structure(masks), found)


def _share(fraction: float) -> Fraction:
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction to prune is between 0 and 1, found {fraction}")
    share = Fraction(fraction).limit_denominator(FINEST)
    if fraction and not share:
        raise ValueError(f"a fraction to prune is at least one in {FINEST}, found {fraction}")
    return share


def _floor(share: Fraction, n: jax.Array, plus: Fraction | int = 0) -> jax.Array:
    """`floor(share n + plus)` in whole numbers: single precision counts to 16 million only."""
    both = share.denominator * plus.denominator
    up = share.numerator * plus.denominator
    extra = plus.numerator * share.denominator
    return n // both * up + ((n % both) * up + extra) // both
