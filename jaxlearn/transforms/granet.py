"""GraNet: gradual pruning with zero-cost neuroregeneration.

Liu et al., "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", NeurIPS 2021,
arXiv 2106.10404.
"""

from collections.abc import Callable

import jax
import optax

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.grow import Growth, swap, then
from jaxlearn.transforms.sparsity.initial import random
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.prune import prune_globally, prune_uniformly
from jaxlearn.transforms.sparsity.regenerate import Removal
from jaxlearn.transforms.sparsity.schedules import cosine, cubic, window
from jaxlearn.transforms.sparsity.sparse import sparse


def granet(
    optimizer: optax.GradientTransformation,
    *,
    final_density: float,
    total_steps: int,
    initial_density: float = 1.0,
    interval: int = 1000,
    start: int = 0,
    stop: int | None = None,
    power: float = 3.0,
    rate: float = 0.5,
    final_rate: float = 0.005,
    growth: str | Growth = "gradient",
    removal: str | Removal = "magnitude",
    trend_decay: float = 0.9,
    scope: str = "global",
    classifier: Callable[[str], bool] = lambda path: False,
    distribution: str = "erk",
    min_per_leaf: int = 0,
    key: Key | None = None,
    code_parity: bool = False,
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Prune gradually, and after each prune swap the weakest weights for the most wanted ones.

    Every `interval` updates, at the weights after the update:

    1. prune (until `stop`): keep the `floor(N * d)` largest `|w|` of all leaves jointly, where d
       falls from `initial_density` to `final_density` by the cubic schedule of Zhu & Gupta;
    2. regenerate (to the end of training), in every leaf by itself: remove the `ceil(r * nnz_l)`
       smallest `|w|` and grow as many of the inactive entries with the largest dense `|gradient|`.
       The rate r follows a cosine from `rate` to `final_rate` over `total_steps`.

    Grown entries start from 0 with empty slots, also those that step 1 of the same event pruned;
    one that step 2 removes and grows again keeps both. `initial_density=1` is GraNet(s_i=0), dense
    to sparse; 0.5 is GraNet(s_i=0.5), sparse to sparse from an ERK mask; `initial_density ==
    final_density` is RigL-ITOP.

    Args:
        optimizer: what trains the active weights.
        final_density: share of the prunable weights that is left.
        total_steps: updates of the whole training, which the rate is annealed over.
        initial_density: density of the random mask to start with; below 1 it needs `key`.
        interval: updates between events; the paper's CIFAR runs use 1000, ImageNet 4000. With Adam
            it should be a few at least: its first update moves every grown weight by the learning
            rate, so an event right after it chooses among equal magnitudes, by rounding.
        start: updates before the schedule begins.
        stop: the update by which the final density is reached, by default half of `total_steps`
            as in the released scripts (epoch 80 of 160).
        power: of the schedule.
        rate: share of active weights swapped at the beginning.
        final_rate: and at the end.
        growth: `"gradient"`, `"random"`, `"momentum"` or a function of the `Moment`.
        removal: `"magnitude"`, or `"set"` for half the smallest positive and half the largest
            negative weights.
        trend_decay: of the dense gradients' sum, with `growth="momentum"`. It costs one more array
            of the size of the weights.
        scope: `"global"`, or `"uniform"` for the same density in every leaf (GraNet_uniform).
        classifier: with `scope="uniform"`, the leaves held at density 0.2 (see `prune_uniformly`).
        distribution: of the random initial mask.
        min_per_leaf: with `scope="global"`, active weights that every leaf keeps.
        key: for random masks and random growth.
        code_parity: the released code's counts: Bernoulli initial masks and, with
            `scope="global"`, one weight less kept and the last step of the schedule left out.
        prunable: which leaves have masks.

    Raises:
        ValueError: when a number is out of range, a name unknown or a key missing.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxlearn.transforms.sparsity import density, masks
        >>> tx = granet(optax.sgd(0.1), final_density=0.1, total_steps=8, interval=1)
        >>> params, state = (p := {"w": jnp.arange(20.0).reshape(4, 5)}), tx.init(p)
        >>> for _ in range(4):
        ...     updates, state = tx.update(params, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> int((params["w"] != 0).sum()), round(float(density(masks(state))), 3)
        (2, 0.1)
    """
    stop = total_steps // 2 if stop is None else stop
    if scope not in ("global", "uniform"):
        raise ValueError(f"unknown scope {scope!r}, expected 'global' or 'uniform'")
    pruning = cubic(
        window(start, stop, interval),
        initial_density,
        final_density,
        power=power,
        code_parity=code_parity and scope == "global",
    )
    prune = (
        prune_globally(pruning, min_per_leaf=min_per_leaf)
        if scope == "global"
        else prune_uniformly(pruning, classifier=classifier)
    )
    swaps = swap(cosine(rate, final_rate, total_steps), growth, removal=removal)
    return sparse(
        optimizer,
        initial=random(initial_density, distribution, bernoulli=code_parity),
        due=lambda count: (count % interval == 0) & (count >= start),
        event=then(prune, swaps),
        key=key,
        trend_decay=trend_decay if growth == "momentum" else None,
        prunable=prunable,
    )


def examples() -> dict[str, optax.GradientTransformation]:
    """Dense to sparse, sparse to sparse and layer by layer, at toy size.

    Some weights of every leaf are kept, because magnitudes of different leaves may not compare: of
    the two factors of LoRA one starts at zero and would be pruned away whole.
    """
    toy = {"final_density": 0.3, "total_steps": 16, "interval": 2, "min_per_leaf": 12}
    key = jax.random.key(0)
    return {
        "granet-0": granet(optax.sgd(0.02, 0.9, nesterov=True), **toy),
        "granet-0.5": granet(optax.adam(1e-2), initial_density=0.5, key=key, **toy),
        "granet-uniform": granet(optax.sgd(0.02, 0.9), scope="uniform", **toy),
        "granet-momentum": granet(
            optax.sgd(0.02, 0.9), growth="momentum", removal="set", key=key, **toy
        ),
    }
