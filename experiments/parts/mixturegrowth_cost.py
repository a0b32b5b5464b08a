"""What the rows of MixtureGrowth's table cost, in closed form, and how long that lets them train.

A step's FLOPs are 6 times the multiply-adds of the kernels: forward, and twice that for the
gradients by weights and by inputs.
"""

from typing import Any

from experiments.parts.mixturegrowth_images import shape_of
from experiments.parts.mixturegrowth_networks import multiply_adds


def step_flops(config: Any, half: bool) -> int:
    """6 multiply-adds' worth: forward, and twice that for the gradients by weights and inputs."""
    each = multiply_adds(config.dataset, config.depth, config.width, half, shape_of(config))
    return 6 * config.batch * each


def phases_flops(config: Any) -> list[int]:
    """What the three phases of MixtureGrowth cost."""
    own, whole = step_flops(config, True), step_flops(config, False)
    first, second, last = config.steps
    return [first * own, second * own * (2 if config.both else 1), last * whole]


def alone_steps(config: Any) -> int:
    """Steps of the one network of a row that does not grow, for the FLOPs that it has left."""
    left, each = phases_flops(config), step_flops(config, config.method == "continued")
    if config.method == "scratch":
        return round(sum(left) / each) if config.matched else config.steps[0]
    return round(sum(left[1:]) / each)


def spent(config: Any) -> int:
    """FLOPs of all training behind a row."""
    cost = phases_flops(config)
    if config.method in ("grow", "ensemble", "member"):
        return sum(cost[: {"grow": 3, "ensemble": 2, "member": 1}[config.method]])
    own = alone_steps(config) * step_flops(config, config.method == "continued")
    return own if config.method == "scratch" else cost[0] + own
