"""Net2WiderNet: the wider network computes the same function until its copies part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.wide_resnet import wide_resnet
from jaxlearn.procedures.net2wider import copies, net2wider, widened
from tests.drawn import drawn, variables

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)


def of(width, stem, second_norm=True):
    return stack(wide_resnet(10, width, 3, stem=stem, second_norm=second_norm))


def logits(model, params, state, train=False):
    return jax.jit(lambda p, s: model.apply(p, s, X, train=train)[0])(params, state)


@pytest.mark.parametrize(("second_norm", "train"), [(True, True), (False, False)])
def test_the_wider_network_has_the_same_logits(second_norm, train):
    """Also with the statistics of the batch: copies of a channel have those of the channel.

    Stage 1 has an identity shortcut, the others one of their own; widths are not multiples.
    """
    small, wide = of(0.25, 4, second_norm), of(0.625, 10, second_norm)
    params, state = variables(small, X)
    shapes, statistics = jax.eval_shape(wide.init, KEY, X)
    widen = jax.jit(lambda params, state: net2wider(params, state, shapes, jax.random.key(1)))
    more, seen = widen(params, state)
    assert jax.tree.map(jnp.shape, (more, seen)) == jax.tree.map(jnp.shape, (shapes, statistics))
    before = logits(small, params, state, train)
    assert np.std(before) > 0.1
    np.testing.assert_allclose(logits(wide, more, seen, train), before, rtol=1e-3, atol=1e-3)


def test_noise_moves_the_new_units_alone():
    def network(width):
        norm = {"scale": np.ones(width, np.float32), "bias": np.ones(width, np.float32)}
        ends = {"norm": norm, "classifier": {"kernel": np.ones((width, 3), np.float32)}}
        return {"0": {"stem": {"kernel": np.ones((3, 3, 3, width), np.float32)}}, "1": ends}

    params = drawn(network(4))
    widen = lambda noise: net2wider(params, {}, network(8), KEY, noise=noise)[0]
    still, moved = jax.tree.map(np.asarray, jax.jit(lambda: (widen(0.0), widen(0.1)))())
    change = np.abs(moved["0"]["stem"]["kernel"] - still["0"]["stem"]["kernel"])
    assert not change[..., :4].any()
    assert np.all(change[..., 4:] > 0)
    same = [tree["1"]["classifier"]["kernel"] for tree in (moved, still)]
    np.testing.assert_array_equal(*same)


def test_every_unit_is_kept_and_its_readers_share_its_weight():
    g = copies(KEY, 5, 12)
    np.testing.assert_array_equal(g[:5], np.arange(5))
    assert np.all((g >= 0) & (g < 5))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 2)).astype(np.float32)
    wide = np.asarray(widened(kernel, g, None))
    for unit in range(5):
        total = wide[:, :, np.asarray(g) == unit].sum(2)
        np.testing.assert_allclose(total, kernel[:, :, unit], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: copies(KEY, 4, 3), "cannot be widened to 3"),
        (lambda: net2wider({"0": {"a": 1}}, {}, {"0": {"b": 1}}, KEY), "of the same layers"),
        (
            lambda: net2wider({"0": {"a": {"kernel": X}}}, {}, {"0": {"a": {"kernel": X}}}, KEY),
            "knows no block",
        ),
    ],
)
def test_wrong_use_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_other_kernels_are_refused():
    params = {"0": {"stem": {"kernel": jnp.ones((3, 3, 1, 2))}}}
    shapes = {"0": {"stem": {"kernel": jnp.ones((5, 5, 1, 4))}}}
    with pytest.raises(ValueError, match="other kernels"):
        net2wider(params, {}, shapes, KEY)
