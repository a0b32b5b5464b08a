"""What the TPU compiler reserves for local learning and for backprop."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen

from experiments.harness.tpu import tpu_memory
from jaxlearn.core import from_linen, make_state, make_step, stack
from jaxlearn.models.tiny import DenseRelu
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop

WIDTH, BATCH = 256, 16384
ACTIVATION = 4 * WIDTH * BATCH


def reserved(rule):
    batch = {
        "inputs": jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32),
        "labels": jax.ShapeDtypeStruct((BATCH,), jnp.int32),
    }
    tx = optax.sgd(0.1)
    state = jax.eval_shape(
        lambda key, batch: make_state(rule, tx, key, batch), jax.random.key(0), batch
    )
    return tpu_memory(make_step(rule, tx), state, batch)


def local(layers, loop):
    layer, end = from_linen(DenseRelu(WIDTH)), from_linen(linen.Dense(10))
    head = stack([layer, layer, end])
    return auglocal([layer] * layers, end, 2, lambda i, selected: head, loop=loop)


def plain(layers):
    layer, end = from_linen(DenseRelu(WIDTH)), from_linen(linen.Dense(10))
    return backprop(stack([*[layer] * layers, end]), cross_entropy)


@pytest.mark.slow
def test_memory_of_isolated_modules_does_not_grow_with_depth():
    shallow, deep = (reserved(local(layers, False)) for layers in (6, 12))
    assert deep - shallow < ACTIVATION
    whole = reserved(plain(12))
    assert whole > 5 * ACTIVATION
    assert deep < 0.5 * whole


@pytest.mark.slow
def test_memory_of_a_loop_over_equal_modules_does_not_grow_with_depth():
    shallow, deep = (reserved(local(layers, True)) for layers in (6, 24))
    assert deep - shallow < ACTIVATION


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [(5, 5, 5), (18, 18, 18)])
def test_resnets_at_batch_1024_take_at_most_half_of_backprop(blocks):
    from dataclasses import replace

    from experiments.auglocal import Config, program

    config = Config(blocks=blocks, depth=2)
    found = {
        method: _bytes(program(replace(config, method=method)))
        for method in ("backprop", "auglocal")
    }
    assert found["auglocal"] <= 0.5 * found["backprop"]


def _bytes(made):
    return tpu_memory(made.step, made.state, made.batch)
