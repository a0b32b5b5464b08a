"""The identities of the WKV recurrence, against the direct sum over all pairs in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.wkv import WkvState, start, step, wkv
from jaxlearn_kernels.wkv.shapes import Shape

from . import wkv_cases as cases

SMALL = Shape("small", 25, (2,), 8)
every_implementation = pytest.mark.parametrize("implementation", cases.IMPLEMENTATIONS)


@every_implementation
def test_identity_1_the_scan_equals_the_direct_sum(implementation):
    """Keys from N(0, 3): standard deviation 3, so that weights span eight orders of magnitude."""
    k, v, w, u, *_ = cases.drawn(SMALL, spread=3.0)
    expected = cases.direct(*(np.asarray(a, np.float64) for a in (k, v, w, u)))
    y, _ = cases.forward(implementation)(k, v, w, u, start(SMALL.features))
    np.testing.assert_allclose(y, expected, atol=1e-5)


@every_implementation
def test_identity_1_finite_at_keys_of_80(implementation):
    """Values and all gradients, where ``exp(80)^2`` would overflow float32."""
    case = cases.drawn(SMALL, seed=1)
    case = case._replace(k=80 * jnp.sign(case.k))
    results = cases.run(implementation, case)
    assert all(np.isfinite(a).all() for a in results)
    expected = cases.direct(*(np.asarray(a, np.float64) for a in case[:4]), case.state)
    np.testing.assert_allclose(results[0], expected, atol=1e-4)


@pytest.mark.parametrize("implementation", cases.KERNELS)
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_identity_2_the_written_backward_is_the_derivative_of_the_direct_sum(
    implementation, spread
):
    """Of k, v, w, u and the initial state, from cotangents of y and of the final state."""
    case = cases.drawn(SMALL, seed=2, spread=spread)
    cases.compare(cases.run(implementation, case), cases.exact(case), 1e-4)


@pytest.mark.parametrize("implementation", ["reference", None])
def test_identity_2_in_float64(implementation):
    """The same with nothing left to rounding."""
    with jax.enable_x64(True):
        case = cases.drawn(SMALL, jnp.float64, seed=3, spread=3.0)
        cases.compare(cases.run(implementation, case), cases.exact(case), 1e-12)


@every_implementation
def test_identity_6_a_convex_combination(implementation):
    """y lies between the smallest and the largest value so far."""
    k, v, w, u, *_ = cases.drawn(SMALL, seed=4, spread=3.0)
    y = np.asarray(cases.forward(implementation)(k, v, w, u, start(SMALL.features))[0])
    assert (y >= np.minimum.accumulate(v) - 1e-5).all()
    assert (y <= np.maximum.accumulate(v) + 1e-5).all()
    np.testing.assert_array_equal(y[0], v[0])


@every_implementation
def test_identity_6_a_constant_added_to_k_changes_nothing(implementation):
    """By a power of two larger than any key, so that the sums stay exact to 1e-6."""
    k, v, w, u, *_ = cases.drawn(SMALL, seed=5)
    k = jnp.round(k * 1024) / 1024
    call = lambda k: cases.forward(implementation)(k, v, w, u, start(SMALL.features))[0]
    np.testing.assert_allclose(call(k + 16), call(k), atol=1e-4)
    np.testing.assert_allclose(call(k - 16), call(k), atol=1e-4)


@every_implementation
@pytest.mark.parametrize("w", [-1e4, -np.inf])
def test_identity_6_endless_decay_keeps_the_last_token_and_this_one(implementation, w):
    """``y_t = softmax(k_{t-1}, u + k_t) . (v_{t-1}, v_t)``; gradients stay finite."""
    case = cases.drawn(SMALL, seed=6)
    case = case._replace(w=jnp.full_like(case.w, w))
    k, v, u = (np.asarray(a, np.float64) for a in (case.k, case.v, case.u))
    share = 1 / (1 + np.exp(u + k[1:] - k[:-1]))
    results = cases.run(implementation, case)
    np.testing.assert_allclose(results[0][1:], share * v[:-1] + (1 - share) * v[1:], atol=1e-5)
    assert all(np.isfinite(a).all() for a in results)


def test_no_decay_and_no_bonus_is_a_causal_softmax():
    """w = 0, u = 0: the running mean with weights ``e^k``."""
    k, v, w, u, *_ = cases.drawn(SMALL, seed=7)
    weight = np.exp(np.asarray(k, np.float64))
    expected = np.cumsum(weight * v, 0) / np.cumsum(weight, 0)
    np.testing.assert_allclose(wkv(k, v, 0 * w, 0 * u)[0], expected, atol=1e-5)


@every_implementation
def test_later_tokens_change_nothing_before_them(implementation):
    """Bit for bit, and no gradient runs backward in time."""
    case = cases.drawn(SMALL, seed=8)
    call = lambda k, v: np.asarray(cases.forward(implementation)(k, v, *case[2:5])[0])
    changed = call(case.k.at[20].add(1.0), case.v.at[20].add(1.0))
    y = call(case.k, case.v)
    np.testing.assert_array_equal(changed[:20], y[:20])
    assert np.all(changed[20:22] != y[20:22])
    none = jnp.zeros_like(case.g_p)
    one = case._replace(gy=jnp.zeros_like(case.gy).at[20].set(1.0), g_p=none, g_q=none)
    gradient = dict(zip(cases.NAMES, cases.run(implementation, one), strict=True))
    for name in ("gk", "gv"):
        assert not np.any(gradient[name][21:])
        assert np.all(gradient[name][20])


@every_implementation
def test_token_by_token_equals_the_whole(implementation):
    k, v, w, u, *_ = cases.drawn(SMALL, seed=9)
    state = start(SMALL.features)
    y, final = cases.forward(implementation)(k, v, w, u, state)
    one = jax.jit(step)
    for k_t, v_t, expected in zip(k, v, y, strict=True):
        y_t, state = one(state, k_t, v_t, w, u)
        np.testing.assert_allclose(y_t, expected, atol=2e-6)
    for a, b in zip(state, final, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@every_implementation
def test_in_pieces_equals_the_whole(implementation):
    """Two calls against the direct sum over both, and the chain rule through the state between."""
    whole = cases.drawn(SMALL._replace(time=2 * SMALL.time), seed=10)
    half = lambda name, part: jnp.split(getattr(whole, name), 2)[part]
    first, second = (
        whole._replace(k=half("k", i), v=half("v", i), gy=half("gy", i)) for i in (0, 1)
    )
    between = cases.forward(implementation)(*first[:5])[1]
    after = cases.run(implementation, second._replace(state=between))
    g_p, g_q = (jnp.asarray(a, jnp.float32) for a in after[-3:-1])
    before = cases.run(implementation, first._replace(g_p=g_p, g_q=g_q))
    y, gk, gv = (np.concatenate([before[i], after[i]]) for i in (0, 3, 4))
    gw, gu = (before[i] + after[i] for i in (5, 6))
    found = [y, *after[1:3], gk, gv, gw, gu, *before[-3:]]
    cases.compare(found, cases.exact(whole), 1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_gradients_run_through_the_state_of_the_default(dtype):
    """JAX's own chain rule over two calls, against one call."""
    case = cases.drawn(Shape("", 6, (2,), 3), dtype, seed=10)

    @jax.jit
    def pieces(case):
        def f(k, v, w, u, state):
            first, state = wkv(k[:2], v[:2], w, u, state)
            second, state = wkv(k[2:], v[2:], w, u, state)
            return jnp.concatenate([first, second]), state

        (y, state), pull = jax.vjp(f, *case[:5])
        cotangent = WkvState(case.g_p, case.g_q, jnp.zeros_like(state.m))
        return y, state.P, state.Q, pull((case.gy, cotangent))

    found = [np.asarray(a, np.float64) for a in jax.tree.leaves(pieces(case))]
    cases.compare(found, cases.run(None, case), 2e-5 if dtype == jnp.float32 else 2e-2)


@every_implementation
def test_the_scale_of_the_state_is_free(implementation):
    """``(P, Q, m)`` and ``(2 P, 2 Q, m - log 2)`` are one state, also for the gradients."""
    case = cases.drawn(SMALL, seed=11)
    case = case._replace(g_p=0 * case.g_p, g_q=0 * case.g_q)
    P, Q, m = case.state
    other = case._replace(state=WkvState(2 * P, 2 * Q, m - jnp.log(2.0)))
    one, two = (
        dict(zip(cases.NAMES, cases.run(implementation, c), strict=True)) for c in (case, other)
    )
    for name in ("y", "gk", "gv", "gw", "gu", "gm0"):
        np.testing.assert_allclose(one[name], two[name], atol=5e-5, err_msg=name)
    for name in ("gP0", "gQ0"):
        np.testing.assert_allclose(0.5 * one[name], two[name], atol=5e-5, err_msg=name)
