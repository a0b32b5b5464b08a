"""The reference against an independent numpy float64 forward and hand-written backward."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.lif import SURROGATES, Neuron, lif, step

from . import combos

# antiderivatives of the surrogates: the smoothed steps they are derivatives of
SMOOTH_STEP = {
    "triangle": lambda z, a: np.where(
        np.abs(a * z) >= 1, (z > 0) * 1.0, 0.5 + a * z - np.sign(z) * (a * z) ** 2 / 2
    ),
    "rectangle": lambda z, a: np.clip(0.5 + a * z, 0, 1),
    "sigmoid": lambda z, a: 1 / (1 + np.exp(-a * z)),
    "atan": lambda z, a: np.arctan(np.pi / 2 * a * z) / np.pi + 0.5,
    "fast_sigmoid": lambda z, a: z / (1 + a * np.abs(z)),
    "gaussian": lambda z, a: np.vectorize(lambda y: 0.5 * math.erfc(-a * y / math.sqrt(2)))(z),
}


def slope(z, name, alpha):
    """The surrogates as the papers print them, in numpy."""
    if name == "triangle":
        return np.clip(alpha - alpha**2 * np.abs(z), 0, None)
    if name == "rectangle":
        width = 1 / alpha
        return (np.abs(z) <= width / 2) / width
    if name == "sigmoid":
        sg = 1 / (1 + np.exp(-alpha * z))
        return alpha * sg * (1 - sg)
    if name == "atan":
        return alpha / 2 / (1 + (np.pi / 2 * alpha * z) ** 2)
    if name == "fast_sigmoid":
        return (alpha * np.abs(z) + 1.0) ** -2
    return alpha * np.exp(-((alpha * z) ** 2) / 2) / np.sqrt(2 * np.pi)


def oracle(n: Neuron, x, v0, gs, gv):
    """Spikes, final membrane, gx, gv0 by explicit recursions in float64.

    Backward over gu[t], the total derivative with respect to u[t], by the factor
    ``eps[t] = du[t+1]/du[t]`` of the SLTT paper: ``gu[t] = gs[t] ds/du + eps[t] gu[t+1]``.
    """
    v, us, spikes = v0, [], []
    for x_t in x:
        drive = x_t * (1 - n.decay) if n.input_decay else x_t
        u = n.v_reset + n.decay * (v - n.v_reset) + drive
        s = (u > n.threshold if n.strict else u >= n.threshold) * 1.0
        v = {"soft": u - n.threshold * s, "hard": np.where(s, n.v_reset, u), "none": u}[n.reset]
        us.append(u)
        spikes.append(s)
    gu, gx = None, np.zeros_like(x)
    for t in reversed(range(len(x))):
        d = slope(us[t] - n.threshold, n.surrogate, n.scale)
        through_spike = 0.0 if n.detach_reset else d
        dv_du = {
            "soft": 1 - n.threshold * through_spike,
            "hard": 1 - spikes[t] + (n.v_reset - us[t]) * through_spike,
            "none": 1.0,
        }[n.reset]
        eps = 0.0 if n.detach_carry else n.decay * dv_du
        gu = gs[t] * d + (gv * dv_du if gu is None else eps * gu)
        gx[t] = gu * (1 - n.decay if n.input_decay else 1)
    return np.stack(spikes), v, gx, 0 * gu if n.detach_carry else n.decay * gu


@pytest.mark.parametrize("implementation", ["reference", None])
def test_float64_oracle(implementation):
    with jax.enable_x64(True):
        for seed, neuron in enumerate(combos.sample(8, 3)):
            arguments = combos.inputs((6, 20), jnp.float64, seed)
            found = combos.run(neuron, implementation, *arguments)
            expected = oracle(neuron, *(np.asarray(a) for a in arguments))
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-11, err_msg=str(neuron))


@pytest.mark.parametrize("implementation", ["interpret", "interpret_gpu"])
def test_kernels_against_the_oracle(implementation):
    neuron = Neuron(decay=0.9, reset="hard", v_reset=-0.25, input_decay=True, surrogate="atan")
    arguments = combos.inputs((6, 20), jnp.float32, 1)
    expected = oracle(neuron, *(np.asarray(a, np.float64) for a in arguments))
    for a, b in zip(combos.run(neuron, implementation, *arguments), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", sorted(SURROGATES))
@pytest.mark.parametrize("alpha", [None, 0.7, 3.0])
def test_surrogates(name, alpha):
    """Closed form, antiderivative by central differences, symmetry."""
    alpha = SURROGATES[name].alpha if alpha is None else alpha
    z = np.linspace(-2.03, 2.03, 301)
    with jax.enable_x64(True):
        found = np.asarray(SURROGATES[name].derivative(jnp.asarray(z), alpha))
    np.testing.assert_allclose(found, slope(z, name, alpha), atol=1e-12)
    np.testing.assert_allclose(found, found[::-1], atol=1e-12)
    h = 1e-6
    numeric = (SMOOTH_STEP[name](z + h, alpha) - SMOOTH_STEP[name](z - h, alpha)) / (2 * h)
    np.testing.assert_allclose(found, numeric, atol=1e-4)


def test_published_peaks():
    """SLTT's triangle and sigmoid, SNN-delays' and SpikeGPT's atan, snnTorch's fast sigmoid."""
    at = lambda name, a, z=0.0: float(SURROGATES[name].derivative(jnp.float32(z), a))
    assert at("triangle", 1.0) == 1.0
    assert at("triangle", 1.0, 1.0) == 0.0
    assert at("rectangle", 1.0, 0.5) == 1.0
    assert at("rectangle", 1.0, 0.51) == 0.0
    assert at("sigmoid", 4.0) == 1.0
    assert at("atan", 5.0) == 2.5
    assert at("atan", 2.0, -1.0) == pytest.approx(1 / (1 + math.pi**2), rel=1e-6)
    assert at("fast_sigmoid", 25.0) == 1.0


@pytest.mark.parametrize("implementation", ["reference", *combos.KERNELS])
def test_eps_lies_between_zero_and_decay(implementation):
    """SLTT, identity 8, measured through the operation: ds[1]/dx[0] = ds/du[1] eps[0]."""
    decay = 1 - 1 / 1.1
    x = jnp.stack([jnp.linspace(-1.0, 3.0, 200), jnp.full(200, 0.9)])

    def last_spikes(x):
        return lif(x, neuron=Neuron(decay=decay), implementation=implementation)[0][1].sum()

    gx = np.asarray(jax.grad(last_spikes)(x), np.float64)
    live = gx[1] > 1e-3
    eps = gx[0][live] / gx[1][live]
    assert live.sum() > 150
    assert eps.min() >= 0
    assert eps.max() <= decay * (1 + 1e-6)
    expected = decay * (1 - slope(np.asarray(x[0], np.float64) - 1, "triangle", 1.0))
    np.testing.assert_allclose(eps, expected[live], atol=1e-5)


@pytest.mark.parametrize("implementation", ["reference", *combos.KERNELS])
def test_detached_carry_cuts_every_temporal_route(implementation):
    """SLTT: same forward as BPTT; step t's spikes depend on step t's input alone; v0 on nothing."""
    x, v0, *_ = combos.inputs((4, 6), jnp.float32)
    bptt, sltt = Neuron(decay=0.9), Neuron(decay=0.9, detach_carry=True)
    call = lambda n, x, v0: lif(x, v0, neuron=n, implementation=implementation)
    for a, b in zip(call(bptt, x, v0), call(sltt, x, v0), strict=True):
        np.testing.assert_array_equal(a, b)
    gx, gv0 = jax.grad(lambda x, v0: call(sltt, x, v0)[0][2].sum(), (0, 1))(x, v0)
    assert np.any(gx[2])
    assert not np.any(gx[:2])
    assert not np.any(gv0)
    assert np.any(jax.grad(lambda x: call(bptt, x, v0)[0][2].sum())(x)[:2])


def test_without_leak_memory_bptt_equals_sltt():
    """SLTT, identity 1: decay 0 makes both gradients equal."""
    arguments = combos.inputs((4, 6), jnp.float32)
    bptt = combos.run(Neuron(decay=0.0), None, *arguments)
    sltt = combos.run(Neuron(decay=0.0, detach_carry=True), None, *arguments)
    for a, b in zip(bptt, sltt, strict=True):
        np.testing.assert_array_equal(a, b)


def test_firing_exactly_at_the_threshold():
    x = jnp.array([[1.0]])
    assert lif(x, neuron=Neuron())[0].item() == 1.0
    assert lif(x, neuron=Neuron(strict=True))[0].item() == 0.0


def test_step_by_step_equals_the_scan():
    x, v, *_ = combos.inputs((5, 4), jnp.float32)
    neuron = Neuron(decay=0.7, reset="hard", v_reset=0.1)
    spikes, v_final = lif(x, v, neuron=neuron, implementation="reference")
    for x_t, expected in zip(x, spikes, strict=True):
        s, v, u = step(v, x_t, neuron)
        np.testing.assert_array_equal(s, expected)
        np.testing.assert_array_equal(s, u >= 1.0)
    np.testing.assert_allclose(v, v_final, atol=1e-6)
