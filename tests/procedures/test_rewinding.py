"""The identities of iterative pruning with rewinding, by number."""

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.analysis.stability import distance
from jaxlearn.core import make_state, make_step, stack
from jaxlearn.models.cifar_resnet import cifar_resnet, classifier
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.procedures.fast_forward import fast_forward
from jaxlearn.procedures.magnitude_pruning import prune_globally, prune_layerwise
from jaxlearn.procedures.mask_controls import shuffled
from jaxlearn.procedures.rewinding import (
    iterative_pruning,
    started,
    subnetwork,
    train_subnetwork,
)
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.transforms.gradient_noise import gradient_noise
from jaxlearn.transforms.sparsity import except_for, masks, matrices_and_filters
from jaxlearn.transforms.sparsity.prunable import apply, check_zeros

KEY = jax.random.key(0)
RULE = backprop(tiny_stack(), cross_entropy)
HIDDEN = except_for(matrices_and_filters, "2/*")
HALF = partial(prune_globally, fraction=0.5)


def data(step, order=0):
    """A batch of its own for every step and order."""
    return tiny_batch(16, seed=100 * order + int(step))


def optimizer(decay=0.0):
    rate = optax.piecewise_constant_schedule(0.1, {5: 0.1})
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, 0.9))


TX = subnetwork(optimizer(), prunable=HIDDEN)
STEP = make_step(RULE, TX)


def dense(k, tx=TX, step=STEP):
    """The state after k steps of dense training."""
    state, step = make_state(RULE, tx, KEY, data(0)), jax.jit(step)
    for i in range(k):
        state, _ = step(state, data(i))
    return state


@pytest.fixture(scope="module")
def start():
    return dense(3)


@pytest.fixture(scope="module")
def chain(start):
    options = {"steps": 9, "levels": 3, "prune": HALF, "progress": False}
    return list(iterative_pruning(STEP, TX, start, data, **options))


def flat(tree, mask):
    """The prunable leaves of a tree end to end."""
    rows = [
        np.ravel(leaf)
        for leaf, m in zip(
            jax.tree.leaves(tree), jax.tree.leaves(mask, is_leaf=lambda m: m is None), strict=True
        )
        if m is not None
    ]
    return np.concatenate(rows)


def ones(params, prunable=matrices_and_filters):
    """Dense masks."""
    return masks(subnetwork(optax.sgd(0.1), prunable=prunable).init(params))


@pytest.mark.parametrize(
    ("strict", "wanted"),
    [
        (False, [212_960, 170_368, 136_294, 109_035, 87_228]),
        (True, [212_959, 170_366, 136_291, 109_031, 87_223]),
    ],
)
def test_identity_1_lenet_loses_exactly_a_fifth_of_what_is_left(strict, wanted):
    shapes = {"a": (784, 300), "b": (300, 100), "c": (100, 10)}
    # all magnitudes differ, with no ties at any threshold
    order = np.random.default_rng(0).permutation(266_200) + 1.0
    parts = np.split(order, np.cumsum([235_200, 30_000]))
    params = {
        name: jnp.asarray(part.reshape(shape), jnp.float32)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    mask, found = ones(params), []
    for _ in wanted:
        mask = prune_globally(params, mask, 0.2, strict_threshold=strict)
        found.append(sum(int(leaf.sum()) for leaf in jax.tree.leaves(mask)))
    assert found == wanted


@pytest.mark.parametrize("fraction", ["0.9885", "0.0004", "0.00005", "0.2", "0.1234"])
def test_identity_1_exact_counts_also_of_finely_written_fractions(fraction):
    """Of a million weights, against whole numbers of the fraction as it is written."""
    params = {"w": jnp.arange(1.0, 1_000_001.0).reshape(1000, 1000)}
    gone = math.ceil(Fraction(fraction) * 10**6)
    for prune in (prune_globally, prune_layerwise):
        found = prune(params, ones(params), float(fraction))["w"]
        assert int(found.sum()) == 10**6 - gone
    with pytest.raises(ValueError, match="at least one in 20000"):
        prune_globally(params, ones(params), 1e-6)


def test_identity_1_one_shot_keeps_the_count_of_as_many_levels():
    params = {"w": jax.random.normal(KEY, (37, 53))}
    mask, left = ones(params), 37 * 53
    for _ in range(20):
        mask, left = prune_globally(params, mask, 0.2), left - math.ceil(Fraction(1, 5) * left)
    once = prune_globally(params, ones(params), 0.2, levels=20)
    assert int(mask["w"].sum()) == left
    np.testing.assert_array_equal(once["w"], mask["w"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.2, 0.36, 1 / 3, 0.5]), st.booleans())
def test_identity_1_exact_counts_on_random_trees(seed, fraction, ties):
    """Also under ties, where `ceil(p N)` is of whole numbers, and with exempt weights."""
    rng = np.random.default_rng(seed)
    draw = (lambda s: rng.integers(-2, 3, s)) if ties else rng.standard_normal
    params = {
        "a": jnp.asarray(draw((5, 8)), jnp.float32),
        "b": jnp.asarray(draw((7, 5)), jnp.float32),
    }
    mask = jax.tree.map(lambda p: jnp.asarray(rng.random(p.shape) < 0.7), params)
    left = sum(int(m.sum()) for m in jax.tree.leaves(mask))
    for extra in (0, 10):
        after = prune_globally(params, mask, fraction, exempt_weights=extra)
        gone = left - sum(int(m.sum()) for m in jax.tree.leaves(after))
        assert gone == min(left, int(np.ceil(round(fraction * (left + extra), 9))))


def test_identity_1_layerwise_counts_are_rounded_in_every_layer():
    params = {"a": jax.random.normal(KEY, (9, 7)), "b": jax.random.normal(KEY, (5, 3))}
    share = lambda path: 0.1 if path == "b" else 0.2
    once = prune_layerwise(params, ones(params), share)
    twice = prune_layerwise(params, once, share)
    found = [[int(m.sum()) for m in jax.tree.leaves(mask)] for mask in (once, twice)]
    assert found == [[63 - 13, 15 - 2], [50 - 10, 13 - 1]]
    strict = prune_layerwise(params, ones(params), share, strict_threshold=True)
    assert [int(m.sum()) for m in jax.tree.leaves(strict)] == [49, 12]
    for name, leaf in params.items():
        size, kept = np.abs(np.asarray(leaf)), np.asarray(once[name])
        assert size[kept].min() > size[~kept].max()


def test_identity_2_masks_are_nested_and_exempt_leaves_untouched(chain):
    for before, after in itertools.pairwise(level.masks for level in chain):
        assert not (flat_mask(after) & ~flat_mask(before)).any()
    for level in chain:
        assert level.masks["2"]["kernel"] is None
        np.testing.assert_array_equal(
            level.start.params["2"]["kernel"],
            started(TX, level.start, level.masks).params["2"]["kernel"],
        )


def flat_mask(mask):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(mask)])


def test_identity_3_the_largest_removed_is_below_the_smallest_kept_in_all_layers(chain):
    for before, after in itertools.pairwise(chain):
        size = np.abs(flat(before.state.params, before.masks))
        kept, gone = flat_mask(after.masks), flat_mask(before.masks) & ~flat_mask(after.masks)
        assert gone.sum() == np.ceil(0.5 * flat_mask(before.masks).sum())
        assert size[gone].max() <= size[kept].min()


def test_identity_4_masked_weights_are_zero_at_every_step_also_with_decay_and_momentum(start):
    tx = subnetwork(optimizer(decay=0.1), prunable=HIDDEN)
    mask = shuffled(HALF(start.params, masks(start.opt_state)), KEY)
    state, step = started(tx, start, mask), jax.jit(make_step(RULE, tx))
    for i in range(3, 9):
        check_zeros(mask, state.params)
        state, _ = step(state, data(i))
        trace = state.opt_state.inner[1][0].trace
        check_zeros(mask, trace)
        assert flat(trace, mask)[flat_mask(mask)].all()
    check_zeros(mask, state.params)


def by_hand(start, mask, decay, steps):
    """SGD with momentum and decay on masked gradients, weights masked once at the start."""
    params = apply(mask, start.params)
    velocity = jax.tree.map(jnp.zeros_like, params)
    signal = jax.jit(RULE.signal)
    for i in range(3, steps):
        grads = apply(mask, signal(params, {}, data(i), KEY)[0])
        rate = 0.1 if i < 5 else 0.01
        velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + decay * p, velocity, grads, params)
        params = jax.tree.map(lambda p, v, rate=rate: p - rate * v, params, velocity)
    return params


def test_identity_5_masking_gradients_gives_the_same_active_weights(start):
    tx = subnetwork(optimizer(decay=0.1), prunable=HIDDEN)
    mask = HALF(start.params, masks(start.opt_state))
    options = {"steps": 9, "progress": False}
    ours = train_subnetwork(make_step(RULE, tx), tx, start, mask, data, **options)
    wanted = by_hand(start, mask, 0.1, 9)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), ours.params, wanted)


def test_identity_6_every_level_starts_from_the_rewound_state(start, chain):
    for level in chain:
        begin = started(TX, level.start, level.masks)
        jax.tree.map(np.testing.assert_array_equal, begin.params, apply(level.masks, start.params))
        trace, schedule = begin.opt_state.inner[1]
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(trace))
        assert int(schedule.count) == int(begin.step) == 3
        assert int(level.state.step) == 9
    # the rate is 0.1 at step 3 and a tenth of it at step 5: one step from a late start shows it
    late = start._replace(step=jnp.int32(5))
    for at, rate in ((start, 0.1), (late, 0.01)):
        begin = started(TX, at)
        after, _ = jax.jit(STEP)(begin, data(3))
        grads = jax.jit(RULE.signal)(begin.params, {}, data(3), KEY)[0]
        jax.tree.map(
            lambda p, q, g, rate=rate: np.testing.assert_allclose(q, p - rate * g, atol=1e-6),
            begin.params,
            after.params,
            grads,
        )


def test_identity_6_batch_statistics_are_rewound_bit_for_bit():
    model = stack([*cifar_resnet((1,), (4,)), classifier(3)])
    rule = backprop(model, cross_entropy)
    images = {"inputs": jax.random.normal(KEY, (4, 8, 8, 3)), "labels": jnp.array([0, 1, 2, 0])}
    tx = subnetwork(optax.sgd(0.1, 0.9))
    step = make_step(rule, tx)
    start, _ = jax.jit(step)(make_state(rule, tx, KEY, images), images)
    options = {"steps": 3, "levels": 1, "prune": HALF, "progress": False}
    zero, one = iterative_pruning(step, tx, start, lambda i: images, **options)
    begin = started(tx, one.start, one.masks)
    jax.tree.map(np.testing.assert_array_equal, begin.state, start.state)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), zero.state.state, start.state)
    assert min(jax.tree.leaves(moved["batch_stats"])) > 0


def test_identity_7_rewinding_to_the_end_is_pruning_without_training():
    end = dense(9)
    options = {"steps": 9, "levels": 1, "prune": HALF, "progress": False}
    _, one = iterative_pruning(STEP, TX, end, data, **options)
    wanted = apply(HALF(end.params, masks(end.opt_state)), end.params)
    jax.tree.map(np.testing.assert_array_equal, one.state.params, wanted)
    found = RULE.predict(one.state.params, {}, data(50))[0]
    np.testing.assert_array_equal(found, RULE.predict(wanted, {}, data(50))[0])


def test_identity_7_pruning_nothing_repeats_the_dense_run_bitwise(start):
    nothing = partial(prune_globally, fraction=0.0)
    options = {"steps": 9, "levels": 1, "prune": nothing, "progress": False}
    zero, one = iterative_pruning(STEP, TX, start, data, **options)
    jax.tree.map(np.testing.assert_array_equal, zero.state.params, one.state.params)
    assert float(distance(zero.state.params, one.state.params, one.masks)) == 0


def test_identity_8_shuffled_masks_keep_counts_and_change_places(chain):
    mask = chain[-1].masks
    total, sizes = flat_mask(mask).sum(), [leaf.size for leaf in jax.tree.leaves(mask)]
    counts = lambda tree: [int(leaf.sum()) for leaf in jax.tree.leaves(tree)]
    layer, network, even = (shuffled(mask, KEY, among) for among in ("layer", "network", "even"))
    assert counts(layer) == counts(mask)
    assert counts(layer) != counts(even)
    for found in (layer, network, even):
        assert flat_mask(found).sum() == total
        assert (flat_mask(found) != flat_mask(mask)).any()
    for count, size in zip(counts(even), sizes, strict=True):
        assert abs(count - total * size / sum(sizes)) <= 1


def test_level_0_starts_from_the_rewind_point_with_a_fresh_optimizer(start, chain):
    """It is not the continuation of the first k steps, whose momentum it lacks."""
    state, step = start, jax.jit(STEP)
    for i in range(3, 9):
        state, _ = step(state, data(i))
    gap = distance(state.params, chain[0].state.params, chain[0].masks)
    assert float(gap) > 1e-3
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=1e-6),
        chain[0].state.params,
        by_hand(start, chain[0].masks, 0.0, 9),
    )


def test_learning_rate_rewinding_keeps_the_weights_and_takes_back_the_step(start):
    options = {"steps": 9, "levels": 1, "prune": HALF, "progress": False, "reset": "rate"}
    zero, one = iterative_pruning(STEP, TX, start, data, **options)
    begin = started(TX, one.start, one.masks)
    wanted = apply(one.masks, zero.state.params)
    jax.tree.map(np.testing.assert_array_equal, begin.params, wanted)
    assert int(begin.step) == int(begin.opt_state.inner[1][1].count) == 3


def test_stacked_seeds_prune_as_each_does_alone():
    states, step = over_seeds(RULE, lambda key: TX, (0, 1), data(0))
    streams = [data, lambda i: data(i, order=1)]
    options = {"steps": 4, "levels": 2, "prune": HALF, "progress": False}
    *_, both = iterative_pruning(step, TX, states, stacked(streams), seeds=True, **options)
    for i in (0, 1):
        *_, alone = iterative_pruning(STEP, TX, seed_of(states, i), streams[i], **options)
        pick = partial(jax.tree.map, lambda leaf, i=i: leaf[i])
        jax.tree.map(np.testing.assert_array_equal, pick(both.masks), alone.masks)
        near = partial(np.testing.assert_allclose, atol=1e-5)
        jax.tree.map(near, pick(both.state.params), alone.state.params)


KILLED = """
    import sys
    import jax
    from tests.procedures.test_rewinding import HALF, STEP, TX, data, dense
    from jaxlearn.procedures.rewinding import iterative_pruning

    seen = []
    def batches(step):
        seen.append(int(step))
        if len(sys.argv) > 2 and len(seen) == 10:  # 6 of level 0, then in level 1
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return data(step)

    options = dict(steps=9, levels=2, prune=HALF, progress=False, save_every=2, chunk=1)
    *_, last = iterative_pruning(STEP, TX, dense(3), batches, workdir=sys.argv[1], **options)
    total = sum(float(abs(leaf).sum()) for leaf in jax.tree.leaves(last.state.params))
    print(seen[0], len(seen), total.hex())
"""


@pytest.mark.slow
def test_a_killed_run_continues_in_the_level_it_was_in(tmp_path):
    def run(folder, *more):
        words = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / folder), *more]
        return subprocess.run(words, capture_output=True, text=True, env=os.environ)

    assert run("cut", "kill").returncode == -signal.SIGKILL
    assert (tmp_path / "cut" / "level-1").exists()
    first, count, total = run("cut").stdout.split()
    assert int(first) > 3, "level 1 should go on from its checkpoint"
    assert int(count) < 12, "level 0 should not be trained again"
    assert total == run("whole").stdout.split()[2]


def test_a_finished_chain_trains_nothing_again(start, tmp_path):
    asked = []

    def batches(step):
        asked.append(step)
        return data(step)

    options = {"steps": 6, "levels": 1, "prune": HALF, "progress": False, "workdir": tmp_path}
    *_, first = iterative_pruning(STEP, TX, start, batches, **options)
    asked.clear()
    *_, second = iterative_pruning(STEP, TX, start, batches, **options)
    assert not asked
    jax.tree.map(np.testing.assert_array_equal, first.state.params, second.state.params)


def test_fast_forward_moves_schedules_and_nothing_else():
    rate = optax.linear_schedule(1.0, 0.0, 10)
    params = {"w": jnp.ones(2)}
    adam = optax.adam(rate).init(params)
    moved = fast_forward(adam, 7)
    assert int(moved[0].count) == 0
    assert int(moved[1].count) == 7
    decay = optax.add_decayed_weights(optax.linear_schedule(1.0, 0.0, 10)).init(params)
    noises = (gradient_noise(0.1, KEY).init(params), optax.add_noise(0.1, 0.55, KEY).init(params))
    for state in (decay, *noises):
        after = fast_forward(state, 7)
        assert int(after.count) == 7
        assert all(a is b for a, b in zip(state[1:], after[1:], strict=True)), "keys stay"
    injected = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    _, state = injected.update(params, fast_forward(injected.init(params), 4), params)
    assert float(state.hyperparams["learning_rate"]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HALF(PARAMS, ones(PARAMS), fraction=1.5), "between 0 and 1, found 1.5"),
        (lambda: shuffled(ones(PARAMS), KEY, "nowhere"), "unknown among='nowhere'"),
        (lambda: started(optax.sgd(0.1), dense(0)), "use tx = subnetwork"),
        (
            lambda: next(
                iterative_pruning(
                    STEP, TX, dense(0), data, steps=1, levels=1, prune=HALF, reset="all"
                )
            ),
            "unknown reset='all'",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


PARAMS = {"w": jnp.ones((2, 3))}
