"""RigL: Evci et al., "Rigging the Lottery: Making All Tickets Winners", ICML 2020.

arXiv 1911.11134. RigL-ITOP: Liu et al., "Do We Actually Need Dense Over-Parameterization?", ICML
2021, arXiv 2102.02887.
"""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.grow import swap
from jaxlearn.transforms.sparsity.initial import random
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.schedules import cosine, window
from jaxlearn.transforms.sparsity.sparse import sparse


def rigl(
    optimizer: optax.GradientTransformation,
    *,
    density: float,
    key: Key,
    stop: int,
    interval: int = 100,
    start: int = 0,
    rate: float = 0.3,
    distribution: str = "erk",
    skip_update: bool = True,
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Train with a fixed number of weights that move to where the gradient is large.

    Every `interval` updates until `stop`, in every leaf: remove the `floor(f * nnz_l)` smallest
    `|w|` and grow as many inactive entries with the largest dense `|gradient|`, where
    `f = rate/2 (1 + cos(pi t / stop))` (Algorithm 1, eq. 1). Grown weights start from 0. The step
    that moves the masks makes no update of the weights, as in Algorithm 1.

    Args:
        optimizer: what trains the active weights.
        density: share of the prunable weights that is active.
        key: for the initial mask.
        stop: the last update of the masks; the paper stops at three quarters of training.
        interval: updates between mask updates.
        start: updates before the first one.
        rate: share of active weights swapped at the beginning.
        distribution: of the initial mask, `"erk"` or `"uniform"` in the paper. It keeps the first
            layer dense in the uniform case: exempt it with `prunable`.
        skip_update: leave the weights alone when the masks move; see `sparse` on schedules.
        prunable: which leaves have masks.

    Raises:
        ValueError: when a number is out of range or a name unknown.

    Example:
        >>> from jaxlearn.transforms.sparsity import masks
        >>> tx = rigl(optax.sgd(0.1), density=0.5, key=jax.random.key(0), interval=1, stop=4)
        >>> int(masks(tx.init({"w": jnp.ones((3, 4))}))["w"].sum())
        6
    """
    steps = window(start, stop, interval)
    return sparse(
        optimizer,
        initial=random(density, distribution),
        due=steps.due,
        event=swap(cosine(rate, 0.0, stop), rounding=jnp.floor),
        key=key,
        skip_update=skip_update,
        prunable=prunable,
    )


def rigl_itop(
    optimizer: optax.GradientTransformation,
    *,
    density: float,
    key: Key,
    total_steps: int,
    interval: int = 1000,
    rate: float = 0.5,
    final_rate: float = 0.005,
    distribution: str = "erk",
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """RigL with rare, large and never ending mask updates, which try more weights over time.

    As `rigl`, but masks move after the weight update, `ceil(r * nnz_l)` weights are swapped with r
    on a cosine from `rate` to `final_rate` over `total_steps`, and it goes on to the end. It is
    `granet` with `initial_density == final_density` and the sparse baseline of that paper.

    Raises:
        ValueError: when a number is out of range or a name unknown.
    """
    steps = window(0, total_steps, interval)
    return sparse(
        optimizer,
        initial=random(density, distribution),
        due=steps.due,
        event=swap(cosine(rate, final_rate, total_steps)),
        key=key,
        prunable=prunable,
    )


def examples() -> dict[str, optax.GradientTransformation]:
    """RigL and RigL-ITOP at toy size."""
    key = jax.random.key(0)
    return {
        "rigl": rigl(optax.sgd(0.02, 0.9), density=0.4, key=key, stop=12, interval=3),
        "rigl-itop": rigl_itop(optax.adam(1e-2), density=0.4, key=key, total_steps=16, interval=3),
    }
