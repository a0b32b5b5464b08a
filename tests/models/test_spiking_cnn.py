import jax
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step, over_time
from jaxlearn.models.spiking_cnn import spiking_cnn_blocks
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.local_learning import LocalModule, local_learning

X = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))


@pytest.mark.parametrize(
    "blocks", [spiking_cnn_blocks(3, channels=(4, 6), strides=(1, 2)), spiking_mlp_blocks(3)]
)
def test_everything_before_the_readout_is_spikes(blocks):
    x = X
    for block in blocks[:-1]:
        params, state = jax.jit(block.init)(jax.random.key(1), x)
        x, _ = jax.jit(lambda p, s, x, b=block: b.apply(p, s, x, train=True))(params, state, x)
        assert set(np.unique(x)) == {0, 1}
    params, state = blocks[-1].init(jax.random.key(1), x)
    assert blocks[-1].apply(params, state, x)[0].shape == (2, 3)


def test_one_stride_per_block_is_asked_for():
    with pytest.raises(ValueError, match="3 channels, 2 strides"):
        spiking_cnn_blocks(strides=(1, 2))


def test_the_same_blocks_learn_locally_over_time():
    """Local learning of a spiking network: the blocks of SLTT under another rule."""
    *hidden, readout = spiking_cnn_blocks(3, channels=(4, 6), strides=(2, 2))
    modules = [LocalModule(block, cross_entropy, spiking_readout()) for block in hidden]
    rule = over_time(local_learning([*modules, LocalModule(readout, cross_entropy)]), 2)
    tx, batch = optax.sgd(0.1), {"inputs": X, "labels": np.array([0, 2])}
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), batch))()
    train, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(8):
        state, metrics = train(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]


def spiking_readout():
    return spiking_cnn_blocks(3, channels=(), strides=())[0]
