"""ReLinear: training quadratic networks safely, by growing them slowly from conventional ones.

Fan et al., "On Expressivity and Trainability of Quadratic Networks", IEEE TNNLS 36(1), 2025,
arXiv 2110.06081. Start from `start="relinear"` (every neuron is a conventional one), then either
shrink the gradients of the quadratic parameters (sg) or shrink their values (sw). Quadratic are the
leaves that `group_of` puts in the groups g (`W_g`, `b_g`) and b (`W_b`, `c`); all others are left
alone, so the transforms work on any tree.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import Params, PyTree, trees
from jaxlearn.models.layers.quadratic import anchor_of, group_of

GROUPS = ("g", "b")


class PerGroup(NamedTuple):
    """A number for each of the two quadratic groups.

    Attributes:
        g: of `W_g` and `b_g`.
        b: of `W_b` and `c`.
    """

    g: Any
    b: Any


def shrink_gradients(gamma_g: float, gamma_b: float | None = None) -> optax.GradientTransformation:
    """ReLinear-sg: learning rate `gamma_g * eta` for group g and `gamma_b * eta` for group b.

    `w <- w - gamma * eta * v`, where `v` is the optimizer's direction. Put it after the whole
    optimizer: the rate then scales momentum and weight decay too, as parameter groups do. 0 keeps
    the parameters bit by bit (a conventional network), 1 is plain training. The rates are kept in
    the state, so one compiled step serves all of them, and a schedule may change them there. What
    is trained in the place of a quadratic parameter, such as low-rank factors, has its rate.

    The released code trains with eta = 0.1 and gamma = 1e-4 (QResNet) or 1e-2 (with ReZero); its
    compact script has gamma = 0 and trains a conventional network as it is.

    Args:
        gamma_g: for `W_g` and `b_g`.
        gamma_b: for `W_b` and `c`; like `gamma_g` by default.

    Raises:
        ValueError: when a rate is negative or not finite.

    Example:
        >>> tx = optax.chain(optax.sgd(0.5), shrink_gradients(0.25))
        >>> grads = {"kernel_r": jnp.ones(1), "kernel_g": jnp.ones(1)}
        >>> updates, _ = tx.update(grads, tx.init(grads), grads)
        >>> updates["kernel_r"].tolist(), updates["kernel_g"].tolist()
        ([-0.5], [-0.125])
    """
    rates = _checked("gamma", gamma_g, gamma_b)

    def update(updates: PyTree, state: Any, params: Params | None = None):
        del params

        def one(rate: jax.Array, path: str, u: jax.Array) -> jax.Array:
            # not a product with 0, which would let a NaN through
            return jnp.where(rate == 0, jnp.zeros_like(u), rate.astype(u.dtype) * u)

        return _on_quadratic(one, state, updates), state

    return optax.GradientTransformation(lambda params: _arrays(rates), update)


def shrink(params: Params, strength: PerGroup, kind: str = "scale") -> Params:
    """Move the quadratic parameters towards the conventional neuron, `(W_g, b_g, W_b, c)` to
    `(0, 1, 0, 0)`; strength 0 moves them all the way.

    With `d = w - 1` for `b_g` and `d = w` for the others:

    - `"scale"` (an l2 type of shrinkage, strength alpha in [0, 1]): `d <- alpha d`
    - `"clip"` (an l1 type, strength beta >= 0): `d <- sign(d) min(|d|, beta)`
    - `"soft"` (soft threshold, strength beta >= 0): `d <- sign(d) max(|d| - 1/beta, 0)`

    Note that `b_g` shrinks towards 1: towards 0 it would extinguish the signal.

    Raises:
        ValueError: when a quadratic parameter is not in the tree itself, but its factors are.

    Example:
        >>> found = shrink({"bias_g": jnp.array([3.0])}, PerGroup(0.5, 0.5))
        >>> found["bias_g"].tolist()
        [2.0]
    """
    operator = _operator(kind)

    def one(s: jax.Array, path: str, w: jax.Array) -> jax.Array:
        anchor = _anchor(path, w)
        return anchor + operator(w - anchor, jnp.asarray(s, w.dtype))

    return _on_quadratic(one, _arrays(strength), params)


def shrink_weights(
    g: float, b: float | None = None, *, kind: str = "scale"
) -> optax.GradientTransformation:
    """ReLinear-sw: after every update, `shrink` the quadratic parameters.

    The published code names the hyper-parameters `(alpha_g, alpha_b)` and `(beta_g, beta_b)` and
    says that larger is more quadratic and 0 conventional; the formulas in `shrink` are our reading.
    Put it last in the chain: it replaces the update by the one that ends at the shrunk values.

    Args:
        g: strength for `W_g` and `b_g`.
        b: strength for `W_b` and `c`; like `g` by default.
        kind: `"scale"` (strengths are alphas), `"clip"` or `"soft"` (betas).

    Raises:
        ValueError: when a strength is negative, an alpha above 1, or the kind unknown; in `update`,
            when there are no parameters.

    Example:
        >>> tx = optax.chain(optax.sgd(0.1), shrink_weights(0.5))
        >>> params = {"kernel_g": jnp.ones(1)}
        >>> updates, _ = tx.update({"kernel_g": jnp.zeros(1)}, tx.init(params), params)
        >>> optax.apply_updates(params, updates)["kernel_g"].tolist()
        [0.5]
    """
    _operator(kind)
    strengths = _checked("strength", g, b)
    if kind == "scale" and max(strengths) > 1:
        raise ValueError(f"alphas shrink, so they are at most 1, found {tuple(strengths)}")

    def update(updates: PyTree, state: Any, params: Params | None = None):
        if params is None:
            raise ValueError("shrink_weights needs parameters: tx.update(grads, state, params)")
        moved = jax.tree.map(lambda w, u: w + u.astype(w.dtype), params, updates)
        ended = shrink(moved, state, kind)
        # what is not quadratic keeps the very update it had
        own = lambda keys, u, w, end: end - w if group_of(trees.path(keys)) in GROUPS else u
        return jax.tree.map_with_path(own, updates, params, ended), state

    return optax.GradientTransformation(lambda params: _arrays(strengths), update)


def quadratic_penalty(params: Params, l1: PerGroup, l2: PerGroup) -> jax.Array:
    """`sum over groups of l1 sum |d| + l2 / 2 sum d^2`, with d as in `shrink`.

    Raises:
        ValueError: as `shrink`.

    Example:
        >>> params = {"bias_g": jnp.array([3.0]), "kernel_b": jnp.array([-2.0])}
        >>> float(quadratic_penalty(params, PerGroup(1, 0), PerGroup(0, 0.5)))  # |3 - 1| + 4 / 4
        3.0
    """
    total = jnp.float32(0)
    for keys, w in jax.tree.leaves_with_path(params):
        path = trees.path(keys)
        if (group := group_of(path)) in GROUPS:
            d = w - _anchor(path, w)
            first, second = getattr(l1, group), getattr(l2, group)
            total += first * jnp.sum(jnp.abs(d)) + second / 2 * jnp.sum(d * d)
    return total


def penalize_quadratic(
    *, l1: tuple[float, float] = (0, 0), l2: tuple[float, float] = (0, 0)
) -> optax.GradientTransformation:
    """Add the gradient of `quadratic_penalty` to the gradients: plain l1 and l2 penalties.

    Put it before the optimizer. Unlike weight decay it pulls `b_g` towards 1.

    Args:
        l1: factors for the groups g and b.
        l2: likewise.

    Raises:
        ValueError: when a factor is negative; in `update`, when there are no parameters.

    Example:
        >>> tx = penalize_quadratic(l2=(0.5, 0.5))
        >>> params = {"bias_g": jnp.array([3.0])}
        >>> tx.update({"bias_g": jnp.zeros(1)}, tx.init(params), params)[0]["bias_g"].tolist()
        [1.0]
    """
    factors = _checked("l1", *l1), _checked("l2", *l2)

    def update(updates: PyTree, state: Any, params: Params | None = None):
        if params is None:
            raise ValueError("penalize_quadratic needs parameters: tx.update(grads, state, params)")
        slope = jax.grad(quadratic_penalty)(params, *factors)
        return jax.tree.map(lambda u, s: u + s.astype(u.dtype), updates, slope), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _on_quadratic(
    fn: Callable[[jax.Array, str, jax.Array], jax.Array], values: PerGroup, tree: PyTree
) -> PyTree:
    """`fn(value of the group, path, leaf)` on the quadratic leaves, the others as they are."""

    def one(keys: tuple, leaf: jax.Array) -> jax.Array:
        path = trees.path(keys)
        group = group_of(path)
        return fn(getattr(values, group), path, leaf) if group in GROUPS else leaf

    return jax.tree.map_with_path(one, tree)


def _anchor(path: str, w: jax.Array) -> jax.Array:
    parameter = path.rpartition("/")[2]
    if group_of(parameter) not in GROUPS:
        raise ValueError(
            f"{path} is not a quadratic parameter but a part of one, and to shrink it says nothing "
            "about the whole; use shrink_gradients with such a parametrization"
        )
    return jnp.asarray(anchor_of(path), w.dtype)


def _operator(kind: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    operators = {
        "scale": lambda d, alpha: alpha * d,
        "clip": lambda d, beta: jnp.clip(d, -beta, beta),
        "soft": lambda d, beta: jnp.sign(d) * jnp.maximum(jnp.abs(d) - 1 / beta, 0),
    }
    if kind not in operators:
        raise ValueError(f"kind={kind!r} is unknown; it is one of {', '.join(operators)}")
    return operators[kind]


def _arrays(values: PerGroup) -> PerGroup:
    return PerGroup(*(jnp.asarray(value, jnp.float32) for value in values))


def _checked(name: str, g: float, b: float | None) -> PerGroup:
    found = PerGroup(g, g if b is None else b)
    if not all(0 <= value < float("inf") for value in found):
        raise ValueError(
            f"{name} must be at least 0 and finite in both groups, found {tuple(found)}"
        )
    return found


def examples() -> dict[str, optax.GradientTransformation]:
    """Shrunk gradients, the three kinds of shrunk weights, and the penalties, at toy size."""
    sgd = lambda: optax.sgd(0.02, 0.9)
    return {
        "relinear-sg": optax.chain(sgd(), shrink_gradients(1e-2, 1e-3)),
        "relinear-sw-scale": optax.chain(sgd(), shrink_weights(0.9, 0.5)),
        "relinear-sw-clip": optax.chain(optax.adam(1e-2), shrink_weights(0.1, kind="clip")),
        "relinear-penalty": optax.chain(penalize_quadratic(l1=(1e-3, 1e-3), l2=(0.1, 0)), sgd()),
    }
