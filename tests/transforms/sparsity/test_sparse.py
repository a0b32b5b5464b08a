import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from jaxlearn.transforms.granet import granet
from jaxlearn.transforms.rigl import rigl
from jaxlearn.transforms.set import sparse_evolutionary
from jaxlearn.transforms.sparsity import (
    Moment,
    SparseState,
    check_zeros,
    density,
    mask_params,
    masks,
    seed_axes,
    sparse,
)
from jaxlearn.transforms.sparsity.grow import swap
from jaxlearn.transforms.sparsity.initial import random
from jaxlearn.transforms.sparsity.prunable import beside, matrices_and_filters, prunable_leaves
from jaxlearn.transforms.sparsity.schedules import constant
from jaxlearn.transforms.static_sparse import static_sparse

KEY = jax.random.key(0)
QUICK = {"xla_backend_optimization_level": "0"}
PARAMS = {"bias": jnp.ones(4), "kernel": jnp.arange(1.0, 13.0).reshape(3, 4)}
OPTIMIZERS = {
    "sgd": optax.sgd(0.1, 0.9, nesterov=True),
    "adamw": optax.adamw(0.01, weight_decay=0.1),
    "chain": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, 0.9)),
    "inject": optax.inject_hyperparams(optax.adam)(learning_rate=0.01),
    "partition": optax.partition(
        {"a": optax.adam(0.01), "b": optax.sgd(0.1, 0.9)}, {"bias": "a", "kernel": "b"}
    ),
}


def train(tx, params, steps, seed=0, mask_first=False):
    """Random gradients; yields parameters and state after each update."""
    step = jax.jit(tx.update, compiler_options=QUICK)
    state = tx.init(params)
    params = mask_params(params, state) if mask_first else params
    for i in range(steps):
        key = jax.random.fold_in(jax.random.key(seed), i)
        grads = jax.tree.map(lambda p, key=key: jax.random.normal(key, p.shape), params)
        updates, state = step(grads, state, params)
        params = optax.apply_updates(params, updates)
        yield params, state


def moving(optimizer, **options):
    """Half of the weights, a third of them swapped every second update."""
    options = {"due": lambda count: count % 2 == 0, "event": swap(constant(0.3))} | options
    return sparse(optimizer, initial=random(0.5), key=KEY, **options)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_parameters_and_slots_are_zero_off_the_masks_after_every_update(name):
    for params, state in train(moving(OPTIMIZERS[name]), PARAMS, 5):
        mask = np.asarray(masks(state)["kernel"])
        assert mask.sum() == 6
        assert not np.asarray(params["kernel"])[~mask].any()
        slots = [s for s in jax.tree.leaves(state.inner) if jnp.shape(s) == mask.shape]
        assert len(slots) == (1 if name in ("sgd", "chain", "partition") else 2)
        assert not any(np.asarray(slot)[~mask].any() for slot in slots)
        assert masks(state)["bias"] is None
        assert np.asarray(params["bias"]).all()


def test_the_active_weights_train_as_the_optimizer_would_alone():
    """SGD with momentum and decay is elementwise: masking afterwards gives the same weights."""
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9))
    tx = sparse(optimizer, initial=random(0.5), key=KEY)
    mask = masks(tx.init(PARAMS))["kernel"]
    ours = list(train(tx, PARAMS, 6, mask_first=True))[-1][0]
    state, dense = optimizer.init(PARAMS), PARAMS | {"kernel": PARAMS["kernel"] * mask}
    for i in range(6):
        key = jax.random.fold_in(KEY, i)
        grads = jax.tree.map(lambda p, key=key: jax.random.normal(key, p.shape), dense)
        updates, state = optimizer.update(grads, state, dense)
        dense = optax.apply_updates(dense, updates)
        dense = dense | {"kernel": dense["kernel"] * mask}
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), ours, dense)


def test_clipping_is_by_the_norm_of_the_active_gradient():
    tx = sparse(optax.clip_by_global_norm(1.0), initial=random(0.5), key=KEY)
    params = {"kernel": jnp.zeros((3, 4))}
    updates, _ = tx.update({"kernel": jnp.ones((3, 4))}, tx.init(params), params)
    assert float(optax.global_norm(updates)) == pytest.approx(1.0)


def test_mask_params_zeroes_before_the_first_update_and_changes_nothing_after():
    tx = static_sparse(optax.sgd(0.1), density=0.5, key=KEY)
    first = mask_params(PARAMS, tx.init(PARAMS))
    assert int((first["kernel"] != 0).sum()) == 6
    params, state = list(train(tx, PARAMS, 2))[-1]
    jax.tree.map(np.testing.assert_array_equal, mask_params(params, state), params)


def test_optimizers_without_masks_have_none():
    state = optax.adam(0.1).init(PARAMS)
    assert masks(state) is None
    assert mask_params(PARAMS, state) is PARAMS


def test_masks_are_found_in_any_nesting_and_put_together():
    half = static_sparse(optax.sgd(0.1), density=0.5, key=KEY)
    third = optax.chain(static_sparse(optax.adam(0.1), density=1 / 3, key=KEY))
    params = {"a": PARAMS, "b": PARAMS, "c": PARAMS}
    tx = optax.partition(
        {"h": half, "t": third, "d": optax.sgd(0.1)}, {"a": "h", "b": "t", "c": "d"}
    )
    state = tx.init(params)
    found = masks(state)
    assert (int(found["a"]["kernel"].sum()), int(found["b"]["kernel"].sum())) == (6, 4)
    assert len(jax.tree.leaves(found)) == 2
    first = mask_params(params, state)
    assert int((first["b"]["kernel"] != 0).sum()) == 4
    assert first["c"] is params["c"]
    for after, state in train(tx, params, 2):
        off = ~np.asarray(masks(state)["b"]["kernel"])
        assert not np.asarray(after["b"]["kernel"])[off].any()


def test_parameters_may_be_none():
    tx = moving(optax.adam(0.1))
    params = {"gone": None, **PARAMS}
    for after, state in train(tx, params, 3):
        assert after["gone"] is None
        assert int(masks(state)["kernel"].sum()) == 6


def test_skipped_updates_leave_weights_and_optimizer_alone():
    tx = rigl(optax.adam(0.1), density=0.5, key=KEY, stop=8, interval=2, rate=0.4)
    (before, old), (after, new) = list(train(tx, PARAMS, 2))
    stays = np.asarray(masks(old)["kernel"] & masks(new)["kernel"])
    assert stays.sum() < 6
    np.testing.assert_array_equal(after["kernel"], np.where(stays, before["kernel"], 0))
    np.testing.assert_array_equal(after["bias"], before["bias"])
    assert int(new.inner[0].count) == 1
    np.testing.assert_array_equal(
        new.inner[0].nu["kernel"], np.where(stays, old.inner[0].nu["kernel"], 0)
    )


def test_rigl_chooses_by_weights_before_the_update_and_dense_gradients():
    tx = rigl(optax.sgd(0.1), density=0.5, key=KEY, stop=4, interval=1, rate=0.5)
    state = tx.init(PARAMS)
    mask, grads = np.asarray(masks(state)["kernel"]), jax.random.normal(KEY, (3, 4))
    _, new = tx.update({"bias": jnp.zeros(4), "kernel": grads}, state, PARAMS)
    count = int(np.floor(0.25 * (1 + np.cos(np.pi / 4)) * 6))
    weight = np.where(mask, PARAMS["kernel"], 0).ravel()
    kept = np.zeros(12, bool)
    kept[np.argsort(-weight, kind="stable")[: 6 - count]] = True
    candidates = np.where(kept, -1, np.abs(grads).ravel())
    kept[np.argsort(-candidates, kind="stable")[:count]] = True
    np.testing.assert_array_equal(masks(new)["kernel"].ravel(), kept)


def test_set_grows_at_random_by_its_key():
    def after(seed):
        key = jax.random.key(seed)
        tx = sparse_evolutionary(optax.sgd(0.0), density=0.5, key=key, stop=3, interval=1)
        start = masks(tx.init(PARAMS))["kernel"]
        *_, (_, state) = train(tx, PARAMS, 3)
        return start, masks(state)["kernel"]

    start, first = after(0)
    np.testing.assert_array_equal(first, after(0)[1])
    assert int(first.sum()) == 6
    assert not np.array_equal(start, first)
    assert not np.array_equal(first, after(1)[1])


def test_bernoulli_masks_hold_their_density_on_average():
    drawn = random(0.3, "uniform", bernoulli=True)([(100, 100)], KEY)[0]
    assert abs(int(drawn.sum()) - 3000) < 5 * np.sqrt(10_000 * 0.3 * 0.7)
    assert int(drawn.sum()) != 3000


@pytest.mark.slow
def test_vmapped_seeds_equal_single_ones_and_keep_the_branch():
    rule, batch = backprop(tiny_stack(), cross_entropy), tiny_batch()

    def init(seed):
        tx = granet(
            optax.sgd(0.1, 0.9),
            final_density=0.3,
            initial_density=0.6,
            total_steps=8,
            interval=2,
            key=jax.random.key(seed),
        )
        return make_state(rule, tx, jax.random.key(seed), batch), tx

    one, tx = init(0)
    axes = seed_axes(one)
    state = jax.vmap(lambda seed: init(seed)[0], out_axes=axes)(jnp.arange(2))
    together = jax.jit(jax.vmap(make_step(rule, tx), (axes, None), (axes, 0)))
    assert "cond[" in str(jax.make_jaxpr(together)(state, batch))
    single = jax.jit(make_step(rule, tx))
    alone = [init(seed)[0] for seed in range(2)]
    for _ in range(4):
        state, _ = together(state, batch)
        alone = [single(each, batch)[0] for each in alone]
    assert state.opt_state.count.shape == ()
    for i in range(2):
        found = jax.tree.map(lambda leaf, i=i: leaf[i], masks(state.opt_state))
        jax.tree.map(np.testing.assert_array_equal, found, masks(alone[i].opt_state))
        ours = jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), ours, alone[i].params)


def test_density_and_leaves_beside_masks():
    state = static_sparse(optax.sgd(0.1), density=0.25, key=KEY).init(PARAMS)
    assert isinstance(state, SparseState)
    assert float(density(state.masks)) == 0.25
    assert [leaf.shape for leaf in beside(PARAMS, state.masks)] == [(3, 4)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: prunable_leaves({"b": jnp.ones(3)}, matrices_and_filters),
            "no parameter is prunable",
        ),
        (lambda: moving(optax.sgd(0.1)).update(PARAMS, None), "sparse training needs parameters"),
        (lambda: random(0.5)([(2, 2)], None), "random masks need a key"),
        (lambda: swap(constant(0.1), "nothing"), "unknown growth 'nothing'"),
        (lambda: swap(constant(0.1), removal="none"), "unknown removal 'none'"),
        (
            lambda: check_zeros({"bias": None, "kernel": jnp.zeros((3, 4), bool)}, PARAMS),
            "kernel has 12 weights off its mask",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_random_growth_without_a_key_is_refused():
    tx = granet(optax.sgd(0.1), final_density=0.5, total_steps=4, interval=1, growth="random")
    with pytest.raises(ValueError, match="random growth needs a key"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)


def test_growth_by_momentum_without_a_trend_is_refused():
    tx = moving(optax.sgd(0.1), event=swap(constant(0.3), "momentum"))
    with pytest.raises(ValueError, match="growth by momentum needs a trend"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("rate", ["0.3", "0.7", "0.07"])
@pytest.mark.parametrize(("rounding", "wanted"), [(jnp.ceil, math.ceil), (jnp.floor, math.floor)])
def test_the_share_to_swap_is_rounded_as_the_number_it_is_written_as(rate, rounding, wanted):
    """0.3 of 100 is 30, not the 31 above its product in single precision."""
    inactive = lambda moment: [~mask * 1.0 for mask in moment.masks]
    event = swap(constant(float(rate)), inactive, rounding=rounding)
    most = 300

    def gone(n):
        mask = jnp.arange(2 * most) < n
        moment = Moment(jnp.int32(1), None, ["w"], [mask], [1.0 + jnp.arange(2.0 * most)], [mask])
        return jnp.sum(mask & ~event(moment)[0])

    active = np.arange(1, most)
    found = jax.jit(jax.vmap(gone))(jnp.asarray(active))
    assert found.tolist() == [wanted(Fraction(rate) * int(n)) for n in active]
