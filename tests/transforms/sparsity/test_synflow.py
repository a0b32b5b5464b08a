"""SynFlow: conservation of the flow, and pruning without cutting a layer off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxlearn.core import from_linen
from jaxlearn.models.lenet import lenet_300_100
from jaxlearn.transforms.sparsity.distributions import budget
from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.prunable import apply
from jaxlearn.transforms.sparsity.synflow import keep_iteratively, synflow

MODEL = lenet_300_100(3, widths=(12, 8))
IMAGES = jnp.zeros((2, 4, 4, 1))
PARAMS, _ = MODEL.init(jax.random.key(0), IMAGES)
LAYERS = ("Dense_0", "Dense_1", "Dense_2")


class Convolutions(linen.Module):
    """Two convolutions with rectifiers and a classifier."""

    @linen.compact
    def __call__(self, x):
        """Map `[batch, H, W, C]` to `[batch, 3]`."""
        for width in (4, 5):
            x = linen.relu(linen.Conv(width, (3, 3), use_bias=False)(x))
        return linen.Dense(3, use_bias=False)(x.mean((1, 2)))


def kernels(tree):
    return [np.asarray(tree[name]["kernel"], np.float64) for name in LAYERS]


def test_flow_is_the_product_of_absolute_weights_in_double_precision():
    a, b, c = (np.abs(kernel) for kernel in kernels(PARAMS))
    into = [np.ones(16), np.ones(16) @ a, np.ones(16) @ a @ b]
    out = [b @ c @ np.ones(3), c @ np.ones(3), np.ones(3)]
    found = kernels(synflow(MODEL, IMAGES)(PARAMS))
    for score, weight, before, after in zip(found, (a, b, c), into, out, strict=True):
        np.testing.assert_allclose(score, before[:, None] * weight * after[None], rtol=1e-5)


def test_layerwise_conservation_every_layer_carries_the_whole_flow():
    model = from_linen(Convolutions())
    params, _ = model.init(jax.random.key(1), jnp.zeros((1, 6, 6, 2)))
    scores = synflow(model, jnp.zeros((1, 6, 6, 2)))(params)
    size = jax.tree.map(jnp.abs, params)
    flow = float(model.apply(size, {}, jnp.ones((1, 6, 6, 2)))[0].sum())
    for leaf in jax.tree.leaves(scores):
        assert float(leaf.sum()) == pytest.approx(flow, rel=1e-4)


def test_neuronwise_conservation_as_much_flows_into_a_unit_as_out_of_it():
    first, second, third = kernels(synflow(MODEL, IMAGES)(PARAMS))
    np.testing.assert_allclose(first.sum(0), second.sum(1), rtol=1e-4)
    np.testing.assert_allclose(second.sum(0), third.sum(1), rtol=1e-4)


def test_conservation_holds_for_masked_networks():
    masks = keep(synflow(MODEL, IMAGES)(PARAMS), 0.3)
    first, second, third = kernels(synflow(MODEL, IMAGES)(apply(masks, PARAMS)))
    assert first.sum() == pytest.approx(second.sum(), rel=1e-4)
    np.testing.assert_allclose(second.sum(0), third.sum(1), rtol=1e-4, atol=1e-6)


def test_rounds_follow_the_budget_and_cut_no_layer_off():
    """At a budget of a few paths one round keeps no weight of the first layer; rounds keep some."""
    total = sum(kernel.size for kernel in kernels(PARAMS))
    score = synflow(MODEL, IMAGES)
    masks = jax.jit(lambda p: keep_iteratively(score, p, 0.02, rounds=50))(PARAMS)
    counts = [int(kernel.sum()) for kernel in kernels(masks)]
    assert sum(counts) == budget(total, 0.02)
    assert min(counts) >= 1
    sparse = apply(masks, PARAMS)
    size = jax.tree.map(jnp.abs, sparse)
    assert float(MODEL.apply(size, {}, jnp.ones((1, 4, 4, 1)))[0].sum()) > 0
    once = [int(kernel.sum()) for kernel in kernels(keep(score(PARAMS), 0.02))]
    assert sum(once) == sum(counts)
    assert min(once) == 0


def test_flows_beyond_single_precision_are_ranked_as_in_double_precision():
    """Eight layers of weights about 10^7: their flow is 10^62."""
    model = lenet_300_100(3, widths=(4,) * 7)
    params, _ = model.init(jax.random.key(2), IMAGES)
    params = jax.tree.map(lambda leaf: 1e7 * leaf, params)
    sizes = [np.abs(np.asarray(params[f"Dense_{i}"]["kernel"], np.float64)) for i in range(8)]
    found = jax.jit(synflow(model, IMAGES))(params)
    flow = np.linalg.multi_dot([np.ones(16), *sizes, np.ones(3)])
    assert flow > 1e50
    scores = [np.asarray(found[f"Dense_{i}"]["kernel"]) for i in range(8)]
    largest = max(score.max() for score in scores)
    for i, score in enumerate(scores):
        into = np.linalg.multi_dot([np.ones((1, 16)), *sizes[:i], np.eye(sizes[i].shape[0])])[0]
        out = np.linalg.multi_dot([np.eye(sizes[i].shape[1]), *sizes[i + 1 :], np.ones((3, 1))])
        wanted = into[:, None] * sizes[i] * out[:, 0]
        ratio = score / largest / (wanted / flow)
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
        assert score.sum() == pytest.approx(scores[0].sum(), rel=1e-5)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(FloatingPointError, match="scores are not finite"):
        synflow(MODEL, IMAGES)(jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS))


def test_one_round_is_the_global_choice():
    score = synflow(MODEL, IMAGES)
    ours, wanted = keep_iteratively(score, PARAMS, 0.3, rounds=1), keep(score(PARAMS), 0.3)
    jax.tree.map(np.testing.assert_array_equal, ours, wanted)


def test_refuses_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"found 0\.5 and 0"):
        keep_iteratively(synflow(MODEL, IMAGES), PARAMS, 0.5, rounds=0)
