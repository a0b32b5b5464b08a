"""A random mask that never changes: the baseline of all sparse training."""

import jax
import optax

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.initial import random
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.sparse import sparse


def static_sparse(
    optimizer: optax.GradientTransformation,
    *,
    density: float,
    key: Key,
    distribution: str = "erk",
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Train a random sparse network: `w <- m * (w + u)` with `floor(density * N)` active weights.

    "Static" in Evci et al., ICML 2020, section 4; the Erdos-Renyi-kernel distribution is section 3
    there.

    Args:
        optimizer: what trains the active weights.
        density: share of the prunable weights that is active.
        key: for the mask.
        distribution: `"erk"`, `"er"`, `"uniform"` or a function of shapes and density.
        prunable: which leaves have masks.

    Raises:
        ValueError: when the density is out of range or the distribution unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxlearn.transforms.sparsity import masks
        >>> tx = static_sparse(optax.sgd(0.1), density=0.5, key=jax.random.key(0))
        >>> int(masks(tx.init({"w": jnp.ones((3, 4))}))["w"].sum())
        6
    """
    return sparse(optimizer, initial=random(density, distribution), key=key, prunable=prunable)


def examples() -> dict[str, optax.GradientTransformation]:
    """Three distributions at toy size."""
    key = jax.random.key(0)
    return {
        f"static-{name}": static_sparse(
            optax.sgd(0.02, 0.9), density=0.4, key=key, distribution=name
        )
        for name in ("erk", "er", "uniform")
    }
