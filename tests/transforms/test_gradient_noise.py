"""Annealed gradient noise: its variance, independence, order, placement and the zero start."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step, microbatch
from jaxlearn.models.mlp import mlp
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from jaxlearn.transforms.gradient_noise import (
    annealed,
    displacement,
    gradient_noise,
    langevin,
    noisy,
)
from jaxlearn.transforms.granet import granet
from jaxlearn.transforms.sparsity import masks
from tests.devices import run_on

KEY = jax.random.key(7)
N = 20_000
ZEROS = {"a": jnp.zeros((N // 4, 2)), "b": jnp.zeros(N // 2)}


def updates_at(tx, steps, grads=ZEROS, compiled=True):
    """The updates of the asked steps, as one vector each."""
    state, found = tx.init(grads), {}
    step = jax.jit(tx.update) if compiled else tx.update
    for t in range(max(steps) + 1):
        updates, state = step(grads, state, grads)
        found[t] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(updates)])
    return [found[t] for t in steps]


def assert_variance(sample, variance):
    """Mean 0 and the variance, five standard errors of a chi-square allowed."""
    assert abs(sample.mean()) < 5 * np.sqrt(variance / sample.size)
    assert sample.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / sample.size))


def test_identity_1_variance_of_the_update_under_sgd():
    lr, eta = 0.5, 0.01
    tx = optax.chain(gradient_noise(eta, KEY), optax.sgd(lr))
    for t, sample in zip((0, 1, 99), updates_at(tx, (0, 1, 99)), strict=True):
        assert_variance(sample, lr**2 * eta / (1 + t) ** 0.55)
    sigmas = [float(jnp.sqrt(annealed(0.01)(t))) for t in (0, 1, 99)]
    np.testing.assert_allclose(sigmas, [0.1, 0.0826, 0.0282], atol=5e-5)


def test_identity_2_no_noise_is_bitwise_the_optimizer():
    grads = {"w": jax.random.normal(KEY, (50, 3)), "b": jnp.array([1e-30, -3.0])}
    plain, none = optax.adam(1e-2), optax.chain(gradient_noise(0.0, KEY), optax.adam(1e-2))
    expected, ours = (updates_at(tx, (0, 2), grads, compiled=False) for tx in (plain, none))
    np.testing.assert_array_equal(expected, ours)


def test_identity_3_leaves_and_steps_are_uncorrelated_and_seeds_repeat():
    tx = gradient_noise(1.0, KEY, gamma=0.0)
    first, second = updates_at(tx, (0, 1))
    a, b = np.split(first, 2)
    for x, y in ((a, b), (first, second)):
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(len(x))
    np.testing.assert_array_equal(updates_at(tx, (0, 1)), [first, second])
    assert not np.array_equal(updates_at(gradient_noise(1.0, jax.random.key(8)), (0,))[0], first)


def test_identity_3_a_restored_count_and_key_continue_the_noise():
    tx = gradient_noise(0.3, KEY)
    straight = updates_at(tx, (0, 1, 2, 3))
    _, state = tx.update(ZEROS, tx.init(ZEROS))
    _, state = tx.update(ZEROS, state)
    kept = np.asarray(state.count), np.asarray(jax.random.key_data(state.key))
    restored = state._replace(
        count=jnp.asarray(kept[0]), key=jax.random.wrap_key_data(jnp.asarray(kept[1]))
    )
    updates, _ = jax.jit(tx.update)(ZEROS, restored)
    np.testing.assert_array_equal(np.ravel(updates["a"]), straight[2][: N // 2])


def test_identity_4_compat_draws_what_optax_draws():
    grads = {"w": jax.random.normal(KEY, (5, 4)), "b": jnp.ones(3)}
    ours, theirs = (
        updates_at(tx, (0, 1, 2), grads)
        for tx in (gradient_noise(0.3, KEY, compat="optax"), optax.add_noise(0.3, 0.55, KEY))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_identity_4_statistics_of_noisy_sgd():
    tx = optax.noisy_sgd(0.5, eta=0.01, gamma=0.55, key=KEY)
    assert_variance(updates_at(tx, (1,))[0], 0.25 * 0.01 / 2**0.55)


def zero_start(eta, steps):
    """Weights of a three-layer network of zeros after training, and the gradient it began with."""
    rule = backprop(mlp(3, layers=3, width=5, initial="zeros"), cross_entropy)
    tx = noisy(optax.sgd(0.5), eta, KEY, clip=10.0)
    batch = tiny_batch()
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(KEY)
    slope, _, _ = jax.jit(rule.signal)(state.params, state.state, batch, KEY)
    step = jax.jit(make_step(rule, tx))
    for _ in range(steps):
        state, _ = step(state, batch)
    return state.params, slope, rule.predict(state.params, {}, batch)[0], batch["labels"]


def test_identity_5_zeros_stay_zeros_without_noise():
    params, slope, outputs, labels = zero_start(0.0, 40)
    assert not np.any(slope["last"]["kernel"])
    assert np.any(slope["last"]["bias"])
    for tree in (params, slope):
        for name in ("first", "hidden"):
            assert not any(np.any(leaf) for leaf in jax.tree.leaves(tree[name]))
    assert not np.any(params["last"]["kernel"])
    majority = np.bincount(labels).max() / len(labels)
    assert (np.argmax(outputs, -1) == labels).mean() == pytest.approx(majority)


def test_identity_5_noise_moves_hidden_weights_at_once():
    params, *_ = zero_start(0.01, 1)
    assert np.any(params["hidden"]["kernel"])


def test_identity_6_noise_after_clipping_is_not_clipped():
    grads = {"w": jnp.full(400, 10.0)}
    clip = optax.clip_by_global_norm(1.0)
    after = noisy(optax.identity(), 1.0, KEY, clip=1.0)
    before = optax.chain(gradient_noise(1.0, KEY), clip)
    (late,), (early,) = updates_at(after, (0,), grads), updates_at(before, (0,), grads)
    assert np.linalg.norm(early) <= 1 + 1e-6
    assert np.linalg.norm(late) > 10
    drawn = updates_at(gradient_noise(1.0, KEY), (0,), {"w": jnp.zeros(400)})[0]
    clipped = late - drawn
    np.testing.assert_allclose(np.linalg.norm(clipped), 1.0, rtol=1e-5)


WORKER = """
import sys, jax, numpy as np, optax
from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch, tiny_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from jaxlearn.runtime import data_mesh, data_parallel, place, distribute
from jaxlearn.transforms.gradient_noise import noisy
rule = backprop(tiny_head(), cross_entropy)
tx = noisy(optax.sgd(0.1, 0.9), 0.01, jax.random.key(1), clip=1.0)
ends = []
for devices in (1, 4):
    mesh = data_mesh(jax.devices()[:devices])
    state = distribute(make_state(rule, tx, jax.random.key(0), tiny_batch()), mesh)
    step = data_parallel(make_step(rule, tx), mesh)
    for number in range(6):
        state, _ = step(state, place(jax.device_get(tiny_batch(seed=number)), mesh))
    flat = [np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(state.params))]
    ends.append(np.concatenate(flat))
assert np.abs(ends[0] - ends[1]).max() < 1e-6, np.abs(ends[0] - ends[1]).max()
"""


def test_identity_7_four_devices_add_the_noise_of_one():
    run_on(4, WORKER)


@pytest.mark.parametrize(("placement", "share"), [("per_step", 1.0), ("per_microbatch", 0.25)])
def test_placement_decides_the_variance_of_the_accumulated_update(placement, share):
    tx = noisy(optax.sgd(1.0), 0.3, KEY, accumulate=4, placement=placement)
    *idle, update = updates_at(tx, (0, 1, 2, 3))
    assert not np.any(idle)
    assert_variance(update, share * 0.3)
    # t counts updates: the second one has t = 1
    assert_variance(updates_at(tx, (7,))[0], share * 0.3 / 2**0.55)


@pytest.mark.slow
def test_microbatches_of_a_rule_share_one_draw():
    rule = backprop(mlp(3, layers=2, width=4), cross_entropy)
    tx, batch = noisy(optax.sgd(0.1), 0.1, KEY), tiny_batch()
    ends = []
    for learner in (rule, microbatch(rule, 4)):
        state = jax.jit(lambda key: make_state(rule, tx, key, batch))(KEY)
        step = jax.jit(make_step(learner, tx))
        for _ in range(2):
            state, _ = step(state, batch)
        ends.append(state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *ends)


def test_masks_keep_noise_off_zeros():
    params = {"w": jnp.array([0.0, 2.0, 0.0, 1.0])}
    tx = gradient_noise(1.0, KEY, mask=lambda p: jax.tree.map(lambda w: w != 0, p))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert (np.asarray(updates["w"]) != 0).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="masked noise needs parameters"):
        tx.update(params, tx.init(params))


def test_inside_a_sparse_transform_weights_off_the_mask_stay_zero():
    inner = noisy(optax.sgd(0.1, 0.9), 1.0, KEY, clip=1.0)
    tx = granet(inner, final_density=0.3, total_steps=6, interval=1)
    params = {"w": jax.random.normal(KEY, (8, 8))}
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(4):
        updates, state = update(params, state, params)
        params = optax.apply_updates(params, updates)
    off = ~np.asarray(masks(state)["w"])
    assert off.sum() > 30
    assert not np.any(np.asarray(params["w"])[off])


def test_schedules_of_variance_constant_and_langevin():
    assert_variance(updates_at(gradient_noise(0.2, KEY, gamma=0.0), (5,))[0], 0.2)
    lr, temperature = 0.05, 0.01
    tx = optax.chain(gradient_noise(langevin(lr, temperature), KEY), optax.sgd(lr))
    assert_variance(updates_at(tx, (3,))[0], 2 * lr * temperature)
    falling = langevin(optax.exponential_decay(0.1, 1, 0.5), temperature)
    assert float(falling(jnp.int32(1))) == pytest.approx(2 * temperature / 0.05)


def test_displacement_is_the_spread_of_a_random_walk():
    walk = np.sum(updates_at(gradient_noise(0.01, KEY), range(30)), 0) * 0.1
    assert walk.std() == pytest.approx(float(displacement(0.01, 0.1, 30)), rel=0.03)
    closed = 0.1 * np.sqrt(0.01 * 5000**0.45 / 0.45)  # the integral instead of the sum
    assert float(displacement(0.01, 0.1, 5000)) == pytest.approx(closed, rel=0.01)


def test_small_noise_survives_half_precision():
    """In bfloat16 itself a tenth of the draws near zero would be lost to the coarse grid of 1."""
    grads = {"w": jnp.zeros(1000, jnp.bfloat16)}
    updates, _ = gradient_noise(1e-6, KEY).update(grads, gradient_noise(1e-6, KEY).init(grads))
    assert updates["w"].dtype == jnp.bfloat16
    assert_variance(np.asarray(updates["w"], np.float32), 1e-6)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: gradient_noise(-1.0, KEY), "eta must be at least 0, found -1.0"),
        (lambda: gradient_noise(1.0, KEY, gamma=-0.5), "gamma must be at least 0"),
        (lambda: gradient_noise(1.0, KEY, every=0), "every must be at least 1"),
        (lambda: gradient_noise(1.0, KEY, compat="torch"), "unknown compat 'torch'"),
        (lambda: noisy(optax.sgd(1.0), 1.0, KEY, placement="late"), "unknown placement 'late'"),
        (lambda: noisy(optax.sgd(1.0), 1.0, KEY, clip=0.0), "clip > 0"),
    ],
)
def test_wrong_words_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_an_update_takes_no_more_memory_than_optax_s():
    """Both draw a whole leaf of noise; ours keeps nothing of that size besides."""
    params = {"w": jax.ShapeDtypeStruct((2**20,), jnp.float32)}
    ours = noisy(optax.sgd(0.1), 0.01, KEY, clip=10.0)
    clip, noise = optax.clip_by_global_norm(10.0), optax.add_noise(0.01, 0.55, KEY)
    theirs = optax.chain(clip, noise, optax.sgd(0.1))

    def temporaries(tx):
        def step(params, state, grads):
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(
            params, jax.eval_shape(tx.init, params), params
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    # leaves of 4 MiB; what counts here is a leaf more or less, not a few scalars
    assert temporaries(ours) <= temporaries(theirs) + 2**10
