"""SET: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
connectivity inspired by network science", Nature Communications 2018, arXiv 1707.04780.
"""

import jax
import optax

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.grow import swap
from jaxlearn.transforms.sparsity.initial import random
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.regenerate import Removal
from jaxlearn.transforms.sparsity.schedules import Rate, constant, window
from jaxlearn.transforms.sparsity.sparse import sparse


def sparse_evolutionary(
    optimizer: optax.GradientTransformation,
    *,
    density: float,
    key: Key,
    stop: int,
    interval: int,
    start: int = 0,
    rate: float | Rate = 0.3,
    removal: str | Removal = "magnitude",
    distribution: str = "er",
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Sparse evolutionary training: remove the weakest weights, grow as many at random.

    Every `interval` updates (the paper: every epoch), in every leaf, the `ceil(rate * nnz_l)`
    smallest `|w|` go and as many inactive entries come, drawn uniformly (Algorithm 1). The paper
    removes the smallest positive and the largest negative weights, which is `removal="set"`; the
    default ranks them together, as the comparisons of RigL and GraNet do. Grown weights start from
    0 rather than from a random value, as there.

    Args:
        optimizer: what trains the active weights.
        density: share of the prunable weights that is active.
        key: for the initial mask and the growth.
        stop: the last update of the masks.
        interval: updates between mask updates.
        start: updates before the first one.
        rate: share of active weights swapped, a number or a function of the count.
        removal: `"magnitude"`, `"set"` or a function.
        distribution: of the initial mask; the paper uses Erdos-Renyi.
        prunable: which leaves have masks.

    Raises:
        ValueError: when a number is out of range or a name unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxlearn.transforms.sparsity import masks
        >>> tx = sparse_evolutionary(
        ...     optax.sgd(0.1), density=0.5, key=jax.random.key(0), interval=1, stop=4
        ... )
        >>> int(masks(tx.init({"w": jnp.ones((3, 4))}))["w"].sum())
        6
    """
    steps = window(start, stop, interval)
    share = rate if callable(rate) else constant(rate)
    return sparse(
        optimizer,
        initial=random(density, distribution),
        due=steps.due,
        event=swap(share, "random", removal=removal),
        key=key,
        prunable=prunable,
    )


def examples() -> dict[str, optax.GradientTransformation]:
    """SET at toy size."""
    toy = {"density": 0.4, "key": jax.random.key(0), "stop": 12, "interval": 3}
    return {
        "set": sparse_evolutionary(optax.sgd(0.02, 0.9), **toy),
        "set-by-sign": sparse_evolutionary(optax.sgd(0.02, 0.9), removal="set", **toy),
    }
