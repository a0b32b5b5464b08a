"""Pruners that score every weight and drop the lowest: magnitude, random, Wanda.

A pruner maps `(weight [inputs, outputs], inputs, key)` to the weight with zeros in it.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.procedures.pruning.choices import Choice
from jaxlearn.procedures.pruning.inputs import Inputs
from jaxlearn.procedures.pruning.prune import Pruner
from jaxlearn.transforms.sparsity import scores


def magnitude(choice: Choice) -> Pruner:
    """Score `|w|`.

    Example:
        >>> from jaxlearn.procedures.pruning.choices import unstructured
        >>> weight = jnp.array([[1.0, -4.0], [-3.0, 2.0]])
        >>> magnitude(unstructured(0.5)).prune(weight, None, jax.random.key(0)).tolist()
        [[0.0, -4.0], [-3.0, 0.0]]
    """

    def pruned(weight: jax.Array, inputs: Inputs | None, key: Key) -> jax.Array:
        return _keep(weight, choice(jnp.abs(weight)))

    return Pruner(pruned, looks=False)


def random_scores(choice: Choice) -> Pruner:
    """Score drawn from N(0, 1), the baseline that ignores the weights."""

    def pruned(weight: jax.Array, inputs: Inputs | None, key: Key) -> jax.Array:
        return _keep(weight, choice(jax.random.normal(key, weight.shape)))

    return Pruner(pruned, looks=False)


def wanda(choice: Choice) -> Pruner:
    """Score `|w_ij| sqrt(a_i)`, `a_i` the mean over sequences of the sum over tokens of `x_i^2`.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024. It
    compares within outputs, `wanda(row_wise(s))`; the released code of PERP compares over the whole
    matrix, `wanda(unstructured(s))`.
    """

    def pruned(weight: jax.Array, inputs: Inputs | None, key: Key) -> jax.Array:
        if inputs is None:
            raise ValueError("wanda needs the inputs of the layer; see linear_inputs")
        norms = jnp.sqrt(jnp.diagonal(inputs.gram) / inputs.sequences)
        return _keep(weight, choice(scores.wanda(weight, norms)))

    return Pruner(pruned, looks=True)


def _keep(weight: jax.Array, keep: jax.Array) -> jax.Array:
    return jnp.where(keep, weight, jnp.zeros_like(weight))
