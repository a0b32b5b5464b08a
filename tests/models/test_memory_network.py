"""The memory network against its equations, and a story it has to look up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step
from jaxlearn.models.memory_network import memory_network, position_encoding
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop

KEY = jax.random.key(0)


def by_hand(params, story, question, linear):
    """One example in double precision, sentence by sentence."""
    tables, times, readout = (
        np.asarray(params[name], np.float64) for name in ("embeddings", "times", "readout")
    )
    length, width = len(question), tables.shape[-1]

    def sentence(table, words):
        total = np.zeros(width)
        for j, word in enumerate(words, 1):
            for k in range(1, width + 1):
                weight = (1 - j / length) - (k / width) * (1 - 2 * j / length)
                total[k - 1] += weight * table[word, k - 1] if word else 0
        return total

    u = sentence(tables[0], question)
    for hop in range(len(tables) - 1):
        read = [i for i, words in enumerate(story) if any(words)]
        m = np.array([sentence(tables[hop], story[i]) + times[hop, i] for i in read])
        c = np.array([sentence(tables[hop + 1], story[i]) + times[hop + 1, i] for i in read])
        scores = m @ u
        p = scores if linear else np.exp(scores) / np.exp(scores).sum()
        u = u + p @ c
    return u @ readout


@pytest.mark.parametrize("linear", [False, True])
def test_equals_its_equations_and_skips_empty_memories(linear):
    model = memory_network(8, 3, memories=6, hops=2, width=4, linear=linear, spread=0.7)
    story = np.array([[[3, 1, 0], [2, 7, 5], [0, 0, 0]]])
    question = np.array([[4, 2, 0]])
    x = {"story": jnp.asarray(story), "question": jnp.asarray(question)}
    params, _ = jax.jit(model.init)(KEY, x)
    y, _ = jax.jit(model.apply)(params, {}, x)
    np.testing.assert_allclose(y[0], by_hand(params, story[0], question[0], linear), rtol=1e-4)


def test_the_order_of_words_counts():
    weights = position_encoding(3, 4)
    assert weights.shape == (3, 4)
    assert not np.allclose(weights[0], weights[2])


def test_learns_to_look_up_the_newest_fact():
    """Stories of four "person place" sentences; the answer is the person's newest place."""
    people, place = np.random.default_rng(0).integers(0, 3, (2, 512, 4))
    asked = people[:, 0]  # memory 0 is the newest sentence
    story = np.stack([people + 1, place + 4], -1)
    question = np.stack([asked + 1, np.zeros_like(asked)], -1)
    batch = {"inputs": {"story": story, "question": question}, "labels": place[:, 0]}
    batch = jax.tree.map(jnp.asarray, batch)
    rule = backprop(memory_network(7, 3, memories=4, hops=1, width=8), cross_entropy)
    tx = optax.adam(2e-2)
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(KEY)
    step = jax.jit(make_step(rule, tx))
    for _ in range(150):
        state, found = step(state, batch)
    assert found["accuracy"] > 0.95


def test_more_sentences_than_memories_are_refused():
    x = {"story": jnp.ones((1, 3, 2), int), "question": jnp.ones((1, 2), int)}
    model = memory_network(4, 2, memories=2)
    variables = model.init(KEY, x)
    with pytest.raises(ValueError, match="3 sentences for 2 memories"):
        model.apply(*variables, x)
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        memory_network(4, 2, memories=0)
