"""What turns gradients of the delay networks into updates; `config` is `snn_delays.Config`."""

from functools import cache, partial
from typing import Any

import jax
import optax

from jaxlearn.transforms import gmp, static_sparse
from jaxlearn.transforms.box import box
from jaxlearn.transforms.schedules import by_epoch, one_cycle


@cache
def transform_of(config: Any, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam with one cycle of rate and momentum for weights, another Adam for positions."""
    peak, epochs = config.rate, config.epochs
    over = partial(by_epoch, steps_per_epoch=steps_per_epoch)
    adam = optax.inject_hyperparams(optax.adam)(
        learning_rate=over(one_cycle(peak / 25, peak, peak / 25e4, epochs)),
        b1=over(one_cycle(0.95, 0.85, 0.95, epochs)),
    )
    kernels = lambda tree: jax.tree.map_with_path(lambda path, _: "kernel" in str(path[-1]), tree)
    weights = optax.chain(optax.add_decayed_weights(config.weight_decay, kernels), adam)
    half = config.length // 2
    delays = optax.chain(
        optax.adam(over(optax.cosine_decay_schedule(config.position_rate, epochs))),
        box(-half, half),
    )
    label = lambda path, _: "positions" if "position" in str(path[-1]) else "weights"
    both = optax.partition(
        {"positions": delays, "weights": weights}, lambda tree: jax.tree.map_with_path(label, tree)
    )
    if config.density == 1:
        return both
    among = {"prunable": lambda path, _: path.endswith("kernel")}
    if config.pruned:
        half = steps_per_epoch * (epochs // 2)
        ends = {"final_density": config.density, "interval": steps_per_epoch, "stop": half}
        return gmp(both, scope="uniform", **ends, **among)
    key = jax.random.key(0)  # one mask for all seeds: they share the compiled step
    return static_sparse(both, density=config.density, key=key, distribution="uniform", **among)
