"""Spiking residual networks without normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import from_linen, stack, trees
from jaxlearn.models.layers.ws_conv import WSConv, standardised
from jaxlearn.models.spiking_nf_resnet import GAIN, NFBlock, spiking_nf_resnet_blocks

KEY = jax.random.key(0)


def test_standardised_weights_have_mean_0_and_variance_1_over_fan_in():
    kernel = 3 + 2 * jax.random.normal(KEY, (3, 3, 5, 4))
    done = np.asarray(standardised(kernel, jnp.array([1.0, 2.0, 1.0, 0.5]), 0.0), np.float64)
    rows = done.reshape(45, 4) / [1, 2, 1, 0.5]
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(rows.var(0, ddof=1) * 45, 1, rtol=1e-5)
    with pytest.raises(ValueError, match="one weight per channel"):
        standardised(jnp.ones((1, 1, 1, 3)), jnp.ones(3))


def test_outputs_keep_the_variance_of_independent_inputs():
    x = jax.random.normal(jax.random.key(1), (8, 24, 24, 16))
    conv = from_linen(WSConv(32))
    params, _ = conv.init(KEY, x)
    y, _ = conv.apply(params, {}, x)
    # borders see fewer inputs
    np.testing.assert_allclose(np.var(y[:, 1:-1, 1:-1]), 1, rtol=0.1)


@pytest.mark.parametrize(
    "repeats, bottleneck, million", [((3, 4, 6, 3), 0, 21.8), ((3, 4, 6, 3), 1, 25.6)]
)
def test_has_about_the_parameters_of_resnets(repeats, bottleneck, million):
    """The weights of ResNet-34 and 50: a gain and a bias stand where normalisation had two."""
    model = stack(spiking_nf_resnet_blocks(repeats=repeats, bottleneck=bool(bottleneck)))
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    params, state = jax.eval_shape(model.init, KEY, x)
    assert abs(sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 - million) < 0.1
    assert len(jax.tree.leaves(state["sequence"])) == (3 if bottleneck else 2) * sum(repeats)


def test_betas_follow_the_expected_variance():
    """Read off the outputs: with constant input the first neurons of a block see x / beta."""
    x = jnp.full((1, 4, 4, 8), 1.03)
    for beta, fires in ((1.0, True), (1.04, False)):
        block = from_linen(NFBlock(8, beta=beta, changes=True))
        params, state = jax.jit(block.init)(KEY, x)
        y, _ = jax.jit(block.apply)(params, trees.lasting(state), x)
        kernel = standardised(params["shortcut"]["kernel"], params["shortcut"]["gain"])
        expected = GAIN * fires * kernel.sum((0, 1, 2))
        np.testing.assert_allclose(y[0, 0, 0], expected, atol=1e-5)


def test_a_block_begins_as_its_shortcut_and_still_learns():
    x = jax.random.normal(KEY, (2, 8, 8, 6))
    for bottleneck in (False, True):
        block = from_linen(NFBlock(6, changes=bottleneck, bottleneck=bottleneck))
        params, state = jax.jit(block.init)(KEY, x)
        y, _ = jax.jit(block.apply)(params, trees.lasting(state), x)
        if not bottleneck:
            np.testing.assert_array_equal(y, x)
        slope = jax.jit(
            jax.grad(lambda p, b=block, s=state: (b.apply(p, trees.lasting(s), x)[0] ** 2).sum())
        )
        assert abs(slope(params)["skip"]) > 0


def test_the_logits_begin_at_zero():
    model, x = stack(spiking_nf_resnet_blocks(5, width=4, repeats=(1, 1))), jnp.ones((2, 16, 16, 3))
    params, state = jax.jit(model.init)(KEY, x)
    np.testing.assert_array_equal(jax.jit(model.apply)(params, trees.lasting(state), x)[0], 0)
