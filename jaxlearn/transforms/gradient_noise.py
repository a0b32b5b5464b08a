"""Annealed Gaussian gradient noise.

Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", 2015,
arXiv 1511.06807. It helps networks that are very deep, oddly built or badly initialised; shallow
and well initialised ones show no gain.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import Key, Params, PyTree, keys

Variance = Callable[[jax.Array], jax.Array]
"""`variance(t)`, the variance of every coordinate's noise at update t = 0, 1, …"""
Mask = Callable[[Params], PyTree]
"""From the parameters to a tree of factors beside them, 0 where no noise belongs."""


class GradientNoiseState(NamedTuple):
    """What has to be in a checkpoint for the noise to go on as if nothing had happened.

    Attributes:
        count: updates seen, int32.
        key: the draws of update t come from `fold_in(key, t)`; with `compat="optax"` the key moves.
    """

    count: jax.Array
    key: Key


def annealed(eta: float, gamma: float = 0.55) -> Variance:
    """`eta / (1 + t)^gamma` (section 2): the variance, not the standard deviation.

    The paper fixes gamma at 0.55 and picks eta from 0.01, 0.3 and 1; gamma = 0 is constant noise.

    Raises:
        ValueError: when a number is negative.

    Example:
        >>> [round(float(annealed(0.01)(t)) ** 0.5, 4) for t in (0, 1, 99)]
        [0.1, 0.0826, 0.0282]
    """
    for name, value in (("eta", eta), ("gamma", gamma)):
        if isinstance(value, (int, float)) and not value >= 0:
            raise ValueError(f"{name} must be at least 0, found {value}")
    return lambda t: jnp.asarray(eta / (1.0 + t) ** gamma)


def langevin(learning_rate: optax.ScalarOrSchedule, temperature: float = 1.0) -> Variance:
    """`2 temperature / learning_rate(t)`: plain SGD then moves with noise `N(0, 2 lr temperature)`.

    This is stochastic gradient Langevin dynamics (Welling & Teh, ICML 2011) written as noise on the
    gradient: it falls with the learning rate alone.
    """

    def variance(t: jax.Array) -> jax.Array:
        return (
            2
            * temperature
            / jnp.asarray(learning_rate(t) if callable(learning_rate) else learning_rate)
        )

    return variance


def gradient_noise(
    eta: float | Variance,
    key: Key,
    *,
    gamma: float = 0.55,
    every: int = 1,
    mask: Mask | None = None,
    compat: str | None = None,
) -> optax.GradientTransformation:
    """Add `N(0, s_t^2)` to every coordinate of the gradient, `s_t^2 = eta / (1 + t)^gamma`.

    It belongs after clipping, or clipping takes it away where gradients are large, and before
    momentum, Adam and the learning rate: `chain(clip, gradient_noise(...), optimizer)`. Weight
    decay that is part of the gradient comes after it, decoupled decay stays in the optimizer, and a
    scaled loss is unscaled before clipping.

    Every leaf and every update has draws of its own. The step averages gradients over devices
    before the transform, and all devices hold the same key and count; so there is one draw for the
    whole batch and its variance does not shrink with devices. The same holds for
    `core.microbatch`, which averages inside of the rule.

    Args:
        eta: variance at t = 0, or any schedule of variances (`annealed`, `langevin`).
        key: typed PRNG key.
        gamma: rate of the annealing.
        every: calls per update t, where calls are microbatches (see `noisy`).
        mask: factors for the noise, such as `lambda params: jax.tree.map(lambda w: w != 0, params)`
            for weights that are to stay zero. The sparse transforms do this by themselves for
            what they wrap.
        compat: `"optax"` draws the numbers of `optax.add_noise` from the same key.

    Raises:
        ValueError: when a number is out of range, `compat` unknown, or `update` lacks parameters
            that `mask` needs.

    Example:
        >>> tx = optax.chain(
        ...     optax.clip_by_global_norm(10.0),
        ...     gradient_noise(0.01, jax.random.key(0)),
        ...     optax.sgd(0.1),
        ... )
        >>> params = {"w": jnp.zeros(1000)}
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> bool(jnp.abs(updates["w"].std() - 0.1 * 0.1) < 0.001)
        True
    """
    variance = eta if callable(eta) else annealed(eta, gamma)
    if every < 1:
        raise ValueError(f"every must be at least 1, found {every}")
    if compat not in (None, "optax"):
        raise ValueError(f"unknown compat {compat!r}, expected 'optax' or None")

    def init(params: Params) -> GradientNoiseState:
        del params
        return GradientNoiseState(jnp.int32(0), key)

    def update(updates: PyTree, state: Any, params: Params | None = None):
        if mask is not None and params is None:
            raise ValueError("masked noise needs parameters: tx.update(grads, state, params)")
        after, draw = _next_keys(state, compat)
        count = jnp.asarray(optax.safe_increment(state.count))
        if isinstance(eta, (int, float)) and eta == 0:
            return updates, GradientNoiseState(count, after)
        scale = jnp.sqrt(variance(state.count // every))
        # in float32 at least, so that small noise is not rounded away
        noise = keys.normal_like(draw, updates, None if compat == "optax" else jnp.float32)
        if mask is not None:
            noise = jax.tree.map(jnp.multiply, noise, mask(params))
        noisy = jax.tree.map(lambda g, n: (g + scale * n).astype(g.dtype), updates, noise)
        return noisy, GradientNoiseState(count, after)

    return optax.GradientTransformation(init, update)


def noisy(
    optimizer: optax.GradientTransformation,
    eta: float | Variance,
    key: Key,
    *,
    gamma: float = 0.55,
    clip: float | None = None,
    accumulate: int = 1,
    placement: str = "per_step",
) -> optax.GradientTransformation:
    """Clip by global norm, add noise, then let `optimizer` act, over `accumulate` calls.

    With gradients accumulated over k calls the place of the noise matters. `"per_step"` averages
    first and adds one draw of variance `s_t^2`. `"per_microbatch"` clips and disturbs the gradient
    of every call, so that the average carries noise of variance `s_t^2 / k`. In both cases t
    counts updates, not calls.

    Args:
        optimizer: what gets the noisy gradient.
        eta: as in `gradient_noise`.
        key: typed PRNG key.
        gamma: as in `gradient_noise`.
        clip: largest norm of the gradient before noise; no clipping by default.
        accumulate: calls per update.
        placement: `"per_step"` or `"per_microbatch"`.

    Raises:
        ValueError: when a number is out of range or the placement unknown.
    """
    if placement not in ("per_step", "per_microbatch"):
        raise ValueError(
            f"unknown placement {placement!r}, expected 'per_step' or 'per_microbatch'"
        )
    if accumulate < 1 or (clip is not None and clip <= 0):
        raise ValueError(f"need accumulate >= 1 and clip > 0, found {accumulate} and {clip}")
    first = [] if clip is None else [optax.clip_by_global_norm(clip)]
    each = accumulate if placement == "per_microbatch" else 1
    first.append(gradient_noise(eta, key, gamma=gamma, every=each))
    if accumulate == 1:
        return optax.chain(*first, optimizer)
    if placement == "per_microbatch":
        return optax.chain(*first, _accumulated(optimizer, accumulate))
    return _accumulated(optax.chain(*first, optimizer), accumulate)


def displacement(eta: float, learning_rate: float, steps: int, gamma: float = 0.55) -> jax.Array:
    """How far noise alone moves a weight under SGD: `lr sqrt(sum over t < steps of s_t^2)`.

    Compare it with the spread that the weights need: eta of 0.01 is safe, 0.3 to 1 belongs to
    models with clipping and small learning rates.

    Example:
        >>> round(float(displacement(0.01, 0.1, 5000)), 2)
        0.1
    """
    return learning_rate * jnp.sqrt(jnp.sum(annealed(eta, gamma)(jnp.arange(steps))))


def _next_keys(state: GradientNoiseState, compat: str | None) -> tuple[Key, Key]:
    """The key to keep and the key to draw from."""
    if compat == "optax":
        after, draw = jax.random.split(state.key)
        return after, draw
    return state.key, jax.random.fold_in(state.key, state.count)


def _accumulated(tx: optax.GradientTransformation, k: int) -> optax.GradientTransformation:
    return optax.MultiSteps(tx, k).gradient_transformation()


def examples() -> dict[str, optax.GradientTransformation]:
    """Annealed noise, constant noise and noise as optax draws it, at toy size."""
    key = jax.random.key(0)
    return {
        "noise": noisy(optax.adam(1e-2), 1e-3, key, clip=10.0),
        "noise-constant": noisy(optax.sgd(0.02, 0.9), 1e-5, key, gamma=0.0),
        "noise-optax": optax.chain(gradient_noise(1e-4, key, compat="optax"), optax.sgd(0.02, 0.9)),
    }
