"""Option combinations and inputs of the LIF operation for the tests of this folder."""

import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.lif import SURROGATES, Neuron, lif

KERNELS = ("interpret", "interpret_gpu", None)


def every_neuron() -> list[Neuron]:
    """The full product of the discrete options, each with its own continuous ones."""
    rng = random.Random(0)
    grid = itertools.product(("soft", "hard", "none"), SURROGATES, *([(False, True)] * 4))
    return [
        Neuron(
            decay=rng.choice((0.0, 1 / 11, 0.5, 0.9)),
            threshold=rng.choice((1.0, 0.6)),
            reset=reset,
            v_reset=rng.choice((0.0, -0.25)),
            input_decay=input_decay,
            strict=strict,
            detach_reset=detach_reset,
            detach_carry=detach_carry,
            surrogate=surrogate,
            alpha=rng.choice((None, 0.7, 1.6)),
        )
        for reset, surrogate, input_decay, strict, detach_reset, detach_carry in grid
    ]


def sample(count: int, seed: int) -> list[Neuron]:
    return random.Random(seed).sample(every_neuron(), count)


def inputs(shape: tuple[int, ...], dtype, seed: int = 0):
    """Input, initial membrane and the cotangents of both outputs."""
    rng = np.random.default_rng(seed)
    x, gs = (rng.normal(0.5, 1.2, shape) for _ in range(2))
    v0, gv = (rng.normal(0, 0.6, shape[1:]) for _ in range(2))
    wide = jnp.promote_types(dtype, jnp.float32)
    return (
        jnp.asarray(x, dtype),
        jnp.asarray(v0, wide),
        jnp.asarray(gs, dtype),
        jnp.asarray(gv, wide),
    )


def run(neuron: Neuron, implementation, x, v0, gs, gv):
    """Spikes, final membrane and the gradients of x and v0, as numpy float64."""

    @jax.jit
    def both(x, v0, gs, gv):
        f = lambda x, v0: lif(x, v0, neuron=neuron, implementation=implementation)
        outputs, pull = jax.vjp(f, x, v0)
        return (*outputs, *pull((gs, gv)))

    results = both(x, v0, gs, gv)
    assert results[0].dtype == results[2].dtype == x.dtype
    return [np.asarray(a, np.float64) for a in results]
