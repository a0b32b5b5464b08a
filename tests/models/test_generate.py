"""Writing on from prompts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack, trees
from jaxlearn.models.generate import generate
from jaxlearn.models.spikegpt import spikegpt_blocks

MODEL = stack(spikegpt_blocks(11, 2, 16))
PROMPT = jnp.array([[1, 2, 3], [4, 5, 6]])
PARAMS, STATE = jax.jit(MODEL.init)(jax.random.key(0), PROMPT)
READ = jax.jit(MODEL.apply)


def test_the_likeliest_tokens_are_those_of_reading_everything_again():
    written = generate(MODEL, PARAMS, STATE, PROMPT, 6, jax.random.key(1), temperature=0.0)
    text = PROMPT
    for _ in range(6):
        # tokens to come do not reach back, so that one compiled length serves all
        full = jnp.pad(text, ((0, 0), (0, 9 - text.shape[1])))
        logits, _ = READ(PARAMS, trees.lasting(STATE), full)
        text = jnp.concatenate([text, logits[:, text.shape[1] - 1, None].argmax(-1)], 1)
    np.testing.assert_array_equal(written, text[:, 3:])


def test_rows_do_not_depend_on_each_other():
    both = generate(MODEL, PARAMS, STATE, PROMPT, 5, jax.random.key(1), temperature=0.0)
    one = generate(MODEL, PARAMS, STATE, PROMPT[:1], 5, jax.random.key(1), temperature=0.0)
    np.testing.assert_array_equal(both[:1], one)


def test_draws_follow_the_softmax():
    prompt = jnp.tile(PROMPT[:1], (4000, 1))
    first = generate(MODEL, PARAMS, STATE, prompt, 1, jax.random.key(2), temperature=0.7)
    logits, _ = READ(PARAMS, trees.lasting(STATE), PROMPT[:1])
    expected = jax.nn.softmax(logits[0, -1] / 0.7)
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
        generate(MODEL, PARAMS, STATE, prompt, **arguments)
