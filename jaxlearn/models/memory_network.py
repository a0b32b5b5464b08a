"""End-to-end memory networks.

Sukhbaatar et al., "End-To-End Memory Networks", NeurIPS 2015, arXiv 1503.08895.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Model, Params, State


def memory_network(
    words: int,
    answers: int,
    *,
    memories: int,
    hops: int = 3,
    width: int = 20,
    linear: bool = False,
    spread: float = 0.1,
) -> Model:
    """Answer a question from sentences by `hops` soft look-ups.

    Sentences are summed word embeddings weighted by position (`position_encoding`):
    `m_i = sum_j l_j A x_ij + T_A(i)` to be compared and `c_i` likewise with C and `T_C` to be read.
    From `u = B q`, each hop reads `p = softmax(u m)` and `u <- u + sum_i p_i c_i`; logits are
    `W u`. Weights are tied between neighbours: the C of a hop is the A of the next, B is the first
    A. Empty memories are not read.

    Inputs are {"story": int `[B, M, L]`, "question": int `[B, L]`} with 0 for no word; memory i is
    the i-th newest sentence.

    Args:
        words: size of the vocabulary, no word included.
        answers: outputs.
        memories: M, rows of the time embeddings.
        hops: look-ups.
        width: of the embeddings.
        linear: leave the softmax of the hops out, as the "linear start" does at first: the
            parameters are the same, so training can go on with `linear=False`.
        spread: standard deviation of all initial weights.

    Raises:
        ValueError: when a size is below 1, or a story has more sentences than `memories`.

    Example:
        >>> model = memory_network(9, 4, memories=5)
        >>> x = {"story": jnp.ones((2, 5, 3), int), "question": jnp.ones((2, 3), int)}
        >>> answer = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(answer, jax.random.key(0)).shape
        (2, 4)
    """
    if min(words, answers, memories, hops, width) < 1:
        raise ValueError(
            f"sizes must be at least 1, found words={words}, answers={answers}, "
            f"memories={memories}, hops={hops}, width={width}"
        )

    def init(key: Key, x: dict[str, jax.Array]) -> tuple[Params, State]:
        del x
        embed, time, read = jax.random.split(key, 3)
        draw = lambda key, *shape: spread * jax.random.normal(key, shape)
        return {
            "embeddings": draw(embed, hops + 1, words, width),
            "times": draw(time, hops + 1, memories, width),
            "readout": draw(read, width, answers),
        }, {}

    def apply(params: Params, state: State, x: dict[str, jax.Array], *, train=False, key=None):
        del train, key
        story, question = x["story"], x["question"]
        if story.shape[1] > memories:
            raise ValueError(f"{story.shape[1]} sentences for {memories} memories; cut the story")
        told = (story != 0).any(-1)
        stored = [
            _embedded(params["embeddings"][hop], story) + params["times"][hop, : story.shape[1]]
            for hop in range(hops + 1)
        ]
        u = _embedded(params["embeddings"][0], question)
        for m, c in pairwise(stored):
            scores = jnp.einsum("bd,bmd->bm", u, m)
            p = jnp.where(told, scores, 0) if linear else _softmax(scores, told)
            u = u + jnp.einsum("bm,bmd->bd", p, c)
        return u @ params["readout"], state

    return Model(init, apply)


def position_encoding(length: int, width: int) -> jax.Array:
    """`l_kj = (1 - j/J) - (k/d)(1 - 2 j/J)` for word j of J and coordinate k of d, `[J, d]`.

    Section 4.1; it lets the order of the words count.
    """
    j = jnp.arange(1, length + 1)[:, None] / length
    k = jnp.arange(1, width + 1)[None] / width
    return (1 - j) - k * (1 - 2 * j)


def _embedded(table: jax.Array, words: jax.Array) -> jax.Array:
    """`sum_j l_j table[word_j]` over the words there are, `[..., L]` to `[..., d]`."""
    there = (words != 0)[..., None]
    weights = position_encoding(words.shape[-1], table.shape[1])
    return jnp.sum(jnp.where(there, weights * table[words], 0), -2)


def _softmax(scores: jax.Array, there: jax.Array) -> jax.Array:
    low = jnp.finfo(scores.dtype).min
    return jnp.where(there, jax.nn.softmax(jnp.where(there, scores, low)), 0)


def examples() -> dict[str, tuple[Model, dict[str, jax.Array]]]:
    """Two hops with and without softmax, for the battery of models."""
    words = jax.random.randint(jax.random.key(0), (4, 6, 3), 0, 7)
    x = {"story": words, "question": words[:, 0]}
    sizes = {"memories": 6, "hops": 2, "width": 5, "spread": 0.5}
    return {
        "memory-network": (memory_network(7, 3, **sizes), x),
        "memory-network-linear": (memory_network(7, 3, linear=True, **sizes), x),
    }
