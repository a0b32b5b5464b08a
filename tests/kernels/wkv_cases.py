"""Inputs and a direct O(T^2) float64 formula of the WKV recurrence, for the tests here."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.wkv import WkvState, wkv
from jaxlearn_kernels.wkv.shapes import Shape

from .residual import residual

IMPLEMENTATIONS = ("reference", "scan", "interpret", "interpret_gpu")
KERNELS = ("scan", "interpret", "interpret_gpu")


class Case(NamedTuple):
    """Arguments of the operation and cotangents of its results."""

    k: jax.Array
    v: jax.Array
    w: jax.Array
    u: jax.Array
    state: WkvState
    gy: jax.Array
    g_p: jax.Array
    g_q: jax.Array


def drawn(shape: Shape, dtype=jnp.float32, seed: int = 0, spread: float = 1.0) -> Case:
    """Normal keys of that spread, decays from slow to fast, a state that weighs as a few tokens."""
    rng = np.random.default_rng(seed)
    wide = jnp.promote_types(dtype, jnp.float32)
    array = lambda size, dtype, scale=1.0: jnp.asarray(rng.normal(0, scale, size), dtype)
    full, features, channels = shape.full, shape.features, (shape.channels,)
    P, Q = array(features, wide), jnp.exp(array(features, wide, 0.5))
    return Case(
        k=array(full, dtype, spread),
        v=array(full, dtype),
        w=-jnp.exp(array(channels, wide)),
        u=array(channels, wide),
        state=WkvState(P, Q, array(features, wide)),
        gy=array(full, dtype),
        g_p=array(features, wide),
        g_q=array(features, wide),
    )


def direct(k, v, w, u, state: WkvState | None = None, xp=np):
    """y by the sum over all pairs of tokens, every row shifted by its largest exponent.

    ::

        y_t = (sum_{i<t} e^{w (t-1-i) + k_i} v_i + e^{u + k_t} v_t + e^{w t + m} P) / (same of 1, Q)
    """
    time, *features = k.shape
    ones = (1,) * len(features)
    t, i = np.arange(time).reshape(-1, 1, *ones), np.arange(time).reshape(1, -1, *ones)
    exponent = xp.where(i < t, w * np.maximum(t - 1 - i, 0) + k[None], -xp.inf)
    exponent = xp.where(i == t, (u + k)[None], exponent)
    if state is None:
        state = WkvState(0 * k[0], 0 * k[0], 0 * k[0] - 1e30)
    carried = w * np.arange(time).reshape(-1, *ones) + state.m
    largest = xp.maximum(exponent.max(1), carried)
    weight, before = xp.exp(exponent - largest[:, None]), xp.exp(carried - largest)
    numerator = (weight * v[None]).sum(1) + before * state.P
    return numerator / (weight.sum(1) + before * state.Q)


def written(k, v, w, state: WkvState, m, xp=np):
    """P and Q after the last token, at scale m."""
    time = k.shape[0]
    age = np.arange(time)[::-1].reshape(-1, *(1,) * (k.ndim - 1))
    weight, before = xp.exp(w * age + k - m), xp.exp(w * time + state.m - m)
    return (weight * v).sum(0) + before * state.P, weight.sum(0) + before * state.Q


@jax.jit
def _derivatives(case: Case, m: jax.Array):
    def everything(k, v, w, u, state):
        return direct(k, v, w, u, state, jnp), *written(k, v, w, state, m, jnp)

    outputs, pull = jax.vjp(everything, *case[:5])
    return outputs, pull((case.gy, case.g_p, case.g_q))


def exact(case: Case) -> list[np.ndarray]:
    """y, the final P and Q, and the gradients of k, v, w, u and the state, in float64."""
    with jax.enable_x64(True):
        case = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), case)
        age = np.arange(len(case.k))[::-1].reshape(-1, *(1,) * (case.k.ndim - 1))
        scale = jnp.maximum((case.w * age + case.k).max(0), case.w * len(case.k) + case.state.m)
        return [np.asarray(a) for a in jax.tree.leaves(_derivatives(case, scale))]


NAMES = ("y", "P", "Q", "gk", "gv", "gw", "gu", "gP0", "gQ0", "gm0")


@functools.cache
def forward(implementation):
    """The operation, compiled once for each shape."""
    return jax.jit(lambda *arguments: wkv(*arguments, implementation=implementation))


@functools.cache
def _both(implementation):
    """Values and gradients, compiled once for each shape."""

    @jax.jit
    def both(case):
        f = lambda *arguments: wkv(*arguments, implementation=implementation)
        (y, state), pull = jax.vjp(f, *case[:5])
        none = jnp.zeros_like(state.m)
        gradients = pull((case.gy, WkvState(case.g_p, case.g_q, none)))
        return y, state.P, state.Q, *gradients

    return both


def run(implementation, case: Case) -> list[np.ndarray]:
    """What :func:`exact` returns, from the operation."""
    results = jax.tree.leaves(_both(implementation)(case))
    assert results[0].dtype == results[3].dtype == results[4].dtype == case.k.dtype
    return [np.asarray(a, np.float64) for a in results]


def compare(found, expected, tolerance: float) -> None:
    """Every array within the tolerance, relative to its largest entry."""
    for name, a, b in zip(NAMES, found, expected, strict=True):
        assert a.shape == b.shape, name
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0, err_msg=name)
        assert residual(a, b) <= tolerance * scale, name
