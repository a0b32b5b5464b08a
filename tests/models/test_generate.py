"""Writing on from prompts."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack, trees
from jaxlearn.models.generate import generate
from jaxlearn.models.spikegpt import spikegpt_blocks

MODEL = stack(spikegpt_blocks(11, 2, 16))
PROMPT = jnp.array([[1, 2, 3], [4, 5, 6]])
READ = jax.jit(MODEL.apply)


@cache
def started():
    """Parameters and state."""
    return jax.jit(MODEL.init)(jax.random.key(0), PROMPT)


@partial(jax.jit, static_argnames=("length", "temperature"))
def written(variables, prompt, length, key, temperature=0.0):
    return generate(MODEL, *variables, prompt, length, key, temperature=temperature)


def test_the_likeliest_tokens_are_those_of_reading_everything_again():
    params, state = started()
    found = written(started(), PROMPT, 6, jax.random.key(1))
    text = np.asarray(PROMPT)
    for _ in range(6):
        # tokens to come do not reach back, so that one compiled length serves all
        full = np.pad(text, ((0, 0), (0, 9 - text.shape[1])))
        logits = np.asarray(READ(params, trees.lasting(state), full)[0])
        text = np.concatenate([text, logits[:, text.shape[1] - 1, None].argmax(-1)], 1)
    np.testing.assert_array_equal(found, text[:, 3:])


def test_rows_do_not_depend_on_each_other():
    both = written(started(), PROMPT, 6, jax.random.key(1))
    one = written(started(), PROMPT[:1], 6, jax.random.key(1))
    np.testing.assert_array_equal(np.asarray(both)[:1], one)


def test_draws_follow_the_softmax():
    prompt = np.tile(np.asarray(PROMPT[:1]), (4000, 1))
    first = np.asarray(written(started(), prompt, 1, jax.random.key(2), temperature=0.7))
    params, state = started()
    # read with others behind, which do not reach back: one compiled length serves all
    logits, _ = READ(params, trees.lasting(state), np.pad(PROMPT, ((0, 0), (0, 6))))
    scaled = np.exp(np.asarray(logits)[0, 2] / 0.7)
    expected = scaled / scaled.sum()
    found = np.bincount(first[:, 0], minlength=11) / 4000
    # four standard deviations of a share of 4000 draws
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / 4000)


@pytest.mark.parametrize(
    "prompt, options, words",
    [
        (jnp.ones((2, 3)), {}, "prompt must be integers"),
        (jnp.ones(3, int), {}, "prompt must be integers"),
        (jnp.ones((2, 0), int), {}, "T >= 1"),
        (PROMPT, {"length": 0}, "length=0"),
        (PROMPT, {"temperature": -1.0}, "temperature=-1.0"),
    ],
)
def test_wrong_calls_are_refused(prompt, options, words):
    arguments = {"length": 2, "key": jax.random.key(0)} | options
    with pytest.raises(ValueError, match=words):
        generate(MODEL, {}, {}, prompt, **arguments)
