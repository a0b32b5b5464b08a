"""Delays against explicit shifts, the derivative by hand, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.models.layers.delays import (
    DelayedLinear,
    between,
    bumps,
    delayed,
    one_hot,
    triangles,
)
from jaxlearn.transforms.box import box
from jaxlearn.transforms.schedules import shrinking_sigma

KEY = jax.random.key(0)


def positions(seed, length, shape):
    return jax.random.uniform(
        jax.random.key(seed), shape, minval=-(length // 2), maxval=length // 2
    )


@pytest.mark.parametrize("sigma", [0.0, 0.23, 3.0, 12.0])
def test_identity_1_a_bump_sums_to_one(sigma):
    shares = bumps(positions(1, 25, (7, 5)), sigma, 25)
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)


def test_identity_2_evaluation_shifts_by_whole_delays():
    layer = DelayedLinear(4, 9, synapses=2)
    x = jax.random.normal(KEY, (3, 20, 5))
    params = layer.init(KEY, x)["params"]
    y = layer.apply({"params": params}, x, mutable=["delays"])[0]
    w, p = (np.asarray(params[name], np.float64) for name in ("kernel", "position"))
    delay = (9 - 1 - 9 // 2 - np.round(p)).astype(int)
    assert len(np.unique(delay)) > 5
    wide = np.zeros((3, 24, 5))
    wide[:, :20] = x
    expected = np.zeros((3, 24, 4))
    for s, i, o in np.ndindex(w.shape):
        d = delay[s, i, o]
        expected[:, d:, o] += w[s, i, o] * wide[:, : 24 - d, i]
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_identity_3_nothing_comes_before_its_cause(train):
    layer = DelayedLinear(4, 9, sigma=4.0)
    x = jax.random.normal(KEY, (2, 20, 5))
    variables = layer.init(KEY, x)
    run = lambda x: layer.apply(variables, x, train, mutable=["delays"])[0]
    assert run(x).shape == (2, 20 + 4, 4)
    moved = np.abs(run(x.at[:, 11].add(1.0)) - run(x)).max((0, 2))
    assert (moved[11:20] > 0).any()
    assert (moved[:11] == 0).all()
    assert moved[-1] == 0


def test_identity_4_no_delay_is_a_linear_layer():
    layer = DelayedLinear(4, 9)
    x = jax.random.normal(KEY, (2, 20, 5))
    params = layer.init(KEY, x)["params"]
    still = params | {"position": jnp.full_like(params["position"], 4.0)}  # p = length - 1
    y = layer.apply({"params": still}, x, mutable=["delays"])[0]
    np.testing.assert_allclose(y[:, :20], x @ params["kernel"][0], atol=1e-5)


def test_identity_5_the_slope_of_a_position_is_the_formula():
    length, sigma = 11, 1.3
    weight, position = jax.random.normal(KEY, (4, 3)), positions(2, length, (4, 3))
    seen = jax.random.normal(jax.random.key(3), (length, 4, 3))
    loss = lambda position: jnp.sum(seen * weight * bumps(position, sigma, length))
    found = jax.grad(loss)(position)

    w, p, r = (np.asarray(a, np.float64) for a in (weight, position, seen))
    n, s = np.arange(length)[:, None, None], sigma + 0.27
    centre = p + length // 2
    x = np.exp(-0.5 * ((n - centre) / s) ** 2)
    x /= x.sum(0) + 1e-7
    mean = (x * (n - centre)).sum(0) / s**2
    expected = (r * w * x * ((n - centre) / s**2 - mean)).sum(0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    with jax.enable_x64(True):
        exact, step = lambda p: float(jnp.sum(r * w * bumps(p, sigma, length))), 1e-6
        for place in ((0, 0), (2, 1), (3, 2)):
            shift = np.zeros_like(p)
            shift[place] = step
            slope = (exact(jnp.asarray(p + shift)) - exact(jnp.asarray(p - shift))) / (2 * step)
            assert slope == pytest.approx(expected[place], rel=1e-4, abs=1e-8)


def recovered(sigma, *, steps=700, length=25, start=-10.0, wanted=4):
    """The delay that one synapse ends at, taught by its own input shifted by `wanted`."""
    x = (jax.random.uniform(KEY, (8, 60, 1)) < 0.1).astype(jnp.float32)
    target = delayed(x, one_hot(jnp.full((1, 1), 12.0 - wanted), length))
    tx = optax.chain(optax.adam(0.1), box(-12.0, 12.0))

    def loss(position, width):
        return jnp.mean((delayed(x, bumps(position, width, length)) - target) ** 2)

    def step(carry, at):
        position, state = carry
        grads = jax.grad(loss)(position, sigma(at))
        updates, state = tx.update(grads, state, position)
        return (optax.apply_updates(position, updates), state), position

    position = jnp.full((1, 1), start)
    (position, _), path = jax.lax.scan(step, (position, tx.init(position)), jnp.arange(steps))
    assert float(jnp.abs(path).max()) <= 12
    return int(jnp.round(length - 1 - length // 2 - position)[0, 0])


def test_identity_6_annealing_finds_a_delay_that_narrow_bumps_do_not():
    sigma = shrinking_sigma(25, 2000)
    assert recovered(lambda step: sigma(step)) == 4
    assert recovered(lambda step: 0.23) != 4


def test_identity_7_sigma_is_half_a_step_wide_after_a_quarter():
    for epochs in (12, 60, 150):
        widths = np.array([shrinking_sigma(25, epochs)(e) for e in range(epochs)]) + 0.27
        assert widths[0] == pytest.approx(12.27)
        assert (np.diff(widths) <= 0).all()
        np.testing.assert_allclose(widths[epochs // 4 :], 0.5, atol=1e-6)


def test_identity_8_positions_stay_within_the_kernel():
    tx = optax.chain(optax.adam(3.0), box(-12.0, 12.0))
    position = positions(4, 25, (50, 40))
    state = tx.init(position)
    for seed in range(10):
        grads = jax.random.normal(jax.random.key(seed), position.shape)
        updates, state = tx.update(grads, state, position)
        position = optax.apply_updates(position, updates)
        assert float(jnp.abs(position).max()) <= 12
    assert float((jnp.abs(position) == 12).mean()) > 0.1
    rounded = jnp.round(position)
    np.testing.assert_array_equal(one_hot(rounded, 25), one_hot(position, 25))
    assert (one_hot(position, 25).sum(0) == 1).all()


def test_the_clock_moves_in_training_alone_and_sets_sigma():
    layer = DelayedLinear(2, 5, sigma=lambda step: 2.0 - step)
    x = jax.random.normal(KEY, (1, 6, 3))
    variables = layer.init(KEY, x)
    assert int(variables["delays"]["step"]) == 0
    _, same = layer.apply(variables, x, mutable=["delays"])
    assert int(same["delays"]["step"]) == 0
    for sigma in (2.0, 1.0):
        y, new = layer.apply(variables, x, True, mutable=["delays"])
        fixed = DelayedLinear(2, 5, sigma=sigma).apply(variables, x, True, mutable=["delays"])[0]
        np.testing.assert_allclose(y, fixed, atol=1e-6)
        variables = variables | new
    assert int(variables["delays"]["step"]) == 2


def test_fixed_delays_are_whole_numbers_and_no_parameters():
    layer = DelayedLinear(6, 9, learned=False)
    x = jax.random.normal(KEY, (2, 12, 5))
    variables = layer.init(KEY, x)
    assert set(variables["params"]) == {"kernel"}
    position = variables["delays"]["position"]
    np.testing.assert_array_equal(position, jnp.round(position))
    assert len(np.unique(position)) > 5
    run = lambda train: layer.apply(variables, x, train, mutable=["delays"])[0]
    np.testing.assert_array_equal(run(True), run(False))


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (DelayedLinear(2, 4), (1, 5, 3), "length=4, synapses=1: expected an odd length"),
        (DelayedLinear(2, 5, synapses=0), (1, 5, 3), "synapses=0"),
        (DelayedLinear(2, 5), (5, 3), r"delays need inputs \[batch, time, features\]"),
    ],
)
def test_bad_input_is_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, jnp.zeros(shape))
    with pytest.raises(ValueError, match="box needs low <= high"):
        box(1.0, 0.0)


@pytest.mark.parametrize(("shape", "taps"), [((2, 11, 3), 7), ((6, 90, 64), 25), ((3, 5, 4), 9)])
def test_is_the_convolution_with_its_gradients(shape, taps):
    """Also with more taps than there are times."""
    early, late = taps - 1, (taps - 1) // 2
    x = jax.random.normal(KEY, shape)
    kernel = jax.random.normal(jax.random.key(1), (taps, shape[2], 4)) / taps
    numbers = ("NWC", "WIO", "NWC")

    def native(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), [(early, late)], dimension_numbers=numbers
        )

    np.testing.assert_allclose(delayed(x, kernel), native(x, kernel), atol=1e-5)
    slopes = [
        jax.grad(lambda *a, run=run: jnp.sin(run(*a)).sum(), (0, 1))(x, kernel)
        for run in (delayed, native)
    ]
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


def shares_in_numpy(kind, position, sigma, length):
    """The three shapes from their formulas, tap by tap in double precision."""
    made = np.zeros((length, *position.shape))
    for place in np.ndindex(position.shape):
        p = position[place] + length // 2
        for n in range(length):
            if kind == "triangle":
                made[(n, *place)] = max(0.0, 1 + abs(sigma) - abs(n - p))
            elif kind == "v1":
                k = int(np.floor(p))
                made[(n, *place)] = {k: 1 - (p - k), k + 1: p - k}.get(n, 0.0)
            else:
                made[(n, *place)] = np.exp(-0.5 * ((n - p) / (abs(sigma) + 0.27)) ** 2)
    return made / (made.sum(0) + (0 if kind == "v1" else 1e-7))


def shares(kind, position, sigma, length):
    if kind == "v1":
        return between(position, length)
    return {"triangle": triangles, "gauss": bumps}[kind](position, sigma, length)


@pytest.mark.parametrize("sigma", [0.0, 0.23, 3.0, 12.0])
@pytest.mark.parametrize("kind", ["gauss", "triangle", "v1"])
def test_identity_1_every_shape_is_its_formula_and_sums_to_one(kind, sigma):
    position = positions(1, 25, (7, 5)).at[0].set(jnp.array([-12.0, 12.0, 0.0, -3.0, 11.75]))
    found = shares(kind, position, sigma, 25)
    expected = shares_in_numpy(kind, np.asarray(position, np.float64), sigma, 25)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["triangle", "v1"])
def test_identity_2_without_width_a_whole_position_is_one_tap(kind):
    whole = jnp.arange(-4.0, 5.0)
    np.testing.assert_allclose(shares(kind, whole, 0.0, 9), one_hot(whole, 9), atol=1e-6)


@pytest.mark.parametrize("kind", ["triangle", "v1"])
def test_identity_5_the_slope_of_the_other_shapes_is_their_formula(kind):
    length, sigma = 11, 1.3
    position = positions(2, length, (4, 3))
    seen = np.asarray(jax.random.normal(jax.random.key(3), (length, 4, 3)), np.float64)
    loss = lambda p, seen: jnp.sum(seen * shares(kind, p, sigma, length))
    found = jax.grad(loss)(position, jnp.asarray(seen))

    p = np.asarray(position, np.float64)
    off = np.arange(length)[:, None, None] - (p + length // 2)
    if kind == "v1":
        slope = np.where((off > -1) & (off <= 0), -1.0, np.where((off > 0) & (off <= 1), 1.0, 0.0))
    else:
        height = np.maximum(0, 1 + sigma - np.abs(off))
        down, divisor = np.sign(off) * (height > 0), height.sum(0) + 1e-7
        slope = (down - height / divisor * down.sum(0)) / divisor
    np.testing.assert_allclose(found, (seen * slope).sum(0), rtol=1e-3, atol=1e-5)
    with jax.enable_x64(True):
        exact, step = (lambda p: float(loss(jnp.asarray(p), jnp.asarray(seen)))), 1e-6
        for place in np.ndindex(p.shape):
            shift = np.zeros_like(p)
            shift[place] = step
            difference = (exact(p + shift) - exact(p - shift)) / (2 * step)
            assert difference == pytest.approx((seen * slope).sum(0)[place], rel=1e-5, abs=1e-7)


def test_v1_at_a_whole_position_has_the_slope_of_its_right_side():
    slope = jax.jacfwd(lambda p: between(p, 5))(jnp.float32(-1.0))
    assert slope.tolist() == [0.0, -1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("bump", ["triangle", "v1"])
def test_a_layer_trains_with_the_shape_it_is_told_and_rounds_in_evaluation(bump):
    x = jax.random.normal(KEY, (2, 20, 5))
    layer, gauss = DelayedLinear(4, 9, 2.0, bump=bump), DelayedLinear(4, 9, 2.0)
    variables = gauss.init(KEY, x)
    run = lambda layer, train: layer.apply(variables, x, train, mutable=["delays"])[0]
    made = shares(bump, variables["params"]["position"], 2.0, 9)
    kernel = jnp.einsum("nsio,sio->nio", made, variables["params"]["kernel"])
    np.testing.assert_allclose(run(layer, True), delayed(x, kernel), atol=1e-5)
    assert float(jnp.abs(run(layer, True) - run(gauss, True)).max()) > 1e-2
    np.testing.assert_array_equal(run(layer, False), run(gauss, False))
    with pytest.raises(ValueError, match="bump='max'; expected one of"):
        DelayedLinear(4, 9, bump="max").init(KEY, x)
