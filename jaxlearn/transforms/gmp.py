"""Gradual magnitude pruning: Zhu & Gupta, "To prune, or not to prune", arXiv 1710.01878."""

from collections.abc import Callable

import optax

from jaxlearn.transforms.sparsity.initial import dense
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.prune import prune_globally, prune_uniformly
from jaxlearn.transforms.sparsity.schedules import cubic, window
from jaxlearn.transforms.sparsity.sparse import sparse


def gmp(
    optimizer: optax.GradientTransformation,
    *,
    final_density: float,
    stop: int,
    interval: int = 1000,
    start: int = 0,
    power: float = 3.0,
    scope: str = "global",
    classifier: Callable[[str], bool] = lambda path: False,
    min_per_leaf: int = 0,
    code_parity: bool = False,
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Prune the smallest weights while training, to density `d_f + (1 - d_f)(1 - k/n)^power`.

    Every `interval` updates from `start` to `stop`, the k-th of n events keeps the `floor(N * d)`
    largest `|w|` (eq. 1). `scope="global"` ranks the weights of all leaves jointly, as the baseline
    of Liu et al., NeurIPS 2021 does; `"uniform"` is the original, each leaf by itself. What is
    pruned stays so.

    Args:
        optimizer: what trains the active weights.
        final_density: share of the prunable weights that is left.
        stop: the update by which it is reached.
        interval: updates between events.
        start: updates before the schedule begins.
        power: of the schedule.
        scope: `"global"` or `"uniform"`.
        classifier: with `scope="uniform"`, the leaves held at density 0.2 (see `prune_uniformly`).
        min_per_leaf: with `scope="global"`, active weights that every leaf keeps.
        code_parity: the counts of GraNet's released code, see `granet`; those of
            `scope="uniform"` are the same.
        prunable: which leaves have masks.

    Raises:
        ValueError: when a number is out of range or a name unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = gmp(optax.sgd(0.1), final_density=0.25, interval=1, stop=2)
        >>> params = {"w": jnp.array([[1.0, -4.0, 3.0, 2.0]])}
        >>> state = tx.init(params)
        >>> for _ in range(2):
        ...     updates, state = tx.update({"w": jnp.zeros((1, 4))}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> params["w"]
        Array([[ 0., -4.,  0.,  0.]], dtype=float32)
    """
    steps = window(start, stop, interval)
    if scope not in ("global", "uniform"):
        raise ValueError(f"unknown scope {scope!r}, expected 'global' or 'uniform'")
    parity = code_parity and scope == "global"
    pruning = cubic(steps, 1.0, final_density, power=power, code_parity=parity)
    event = (
        prune_globally(pruning, min_per_leaf=min_per_leaf)
        if scope == "global"
        else prune_uniformly(pruning, classifier=classifier)
    )
    return sparse(optimizer, initial=dense, due=steps.due, event=event, prunable=prunable)


def examples() -> dict[str, optax.GradientTransformation]:
    """Both scopes at toy size, some weights of every leaf kept (see `granet.examples`)."""
    toy = {"final_density": 0.3, "interval": 2, "stop": 8, "min_per_leaf": 12}
    return {
        "gmp": gmp(optax.sgd(0.02, 0.9), **toy),
        "gmp-uniform": gmp(optax.adam(1e-2), scope="uniform", **toy),
    }
