"""Writing on: tokens one by one from a model that carries its state along the sequence."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Key, Model, Params, State, trees


def generate(
    model: Model,
    params: Params,
    state: State,
    prompt: jax.Array,
    length: int,
    key: Key,
    *,
    temperature: float = 1.0,
) -> jax.Array:
    """Draw `length` tokens after each prompt: `p = softmax(logits / temperature)`.

    The prompt is read at once, then every token costs the same however long the text is: what the
    model needs of the past is its collection `"sequence"`. The whole loop is one compiled scan.

    Args:
        model: tokens `[batch, T]` to logits `[batch, T, vocabulary]`, for any T, a sequence being
            continued where its state holds one.
        params: of the model.
        state: of the model; a sequence in it is not continued.
        prompt: int `[batch, T]`, T >= 1; every row is a text of its own.
        length: tokens to write.
        key: of the draws.
        temperature: 0 takes the likeliest token.

    Returns:
        int32 `[batch, length]`.

    Raises:
        ValueError: for a prompt that is not `[batch, T >= 1]`, or values out of range.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.spikegpt import spikegpt_blocks
        >>> model, prompt = stack(spikegpt_blocks(11, 1, 8)), jnp.array([[1, 2], [3, 4]])
        >>> variables = jax.jit(model.init)(jax.random.key(0), prompt)
        >>> generate(model, *variables, prompt, 5, jax.random.key(1)).shape
        (2, 5)
    """
    _check(prompt, length, temperature)
    draw = lambda logits, key: _draw(logits, key, temperature)

    def write(carry, key: Key):
        token, state = carry
        logits, state = model.apply(params, state, token[:, None])
        return (draw(logits[:, -1], key), state), token

    keys = jax.random.split(key, length)
    logits, state = model.apply(params, trees.lasting(state), prompt)
    first = draw(logits[:, -1], keys[0])
    (last, _), tokens = lax.scan(write, (first, state), keys[1:])
    return jnp.concatenate([tokens, last[None]]).T


def generate_by_rereading(
    model: Model,
    params: Params,
    state: State,
    prompt: jax.Array,
    length: int,
    key: Key,
    *,
    temperature: float = 1.0,
) -> jax.Array:
    """The same for a causal model without memory: the whole text is read again for every token.

    What stands behind a place cannot change its logits, so the text is kept at its final length
    and the model compiled once. Time grows with the square of the length.

    Args:
        model: tokens `[batch, T]` to logits `[batch, T, vocabulary]`, causal.
        params: of the model.
        state: of the model.
        prompt: int `[batch, T]`, T >= 1.
        length: tokens to write.
        key: of the draws.
        temperature: 0 takes the likeliest token.

    Returns:
        int32 `[batch, length]`.

    Raises:
        ValueError: as `generate`.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.opt import opt_blocks
        >>> model = stack(opt_blocks(11, 1, 8, longest=8, heads=2))
        >>> prompt = jnp.array([[1, 2], [3, 4]])
        >>> variables = jax.jit(model.init)(jax.random.key(0), prompt)
        >>> generate_by_rereading(model, *variables, prompt, 5, jax.random.key(1)).shape
        (2, 5)
    """
    _check(prompt, length, temperature)
    known = prompt.shape[1]

    def write(i: jax.Array, text: jax.Array) -> jax.Array:
        logits, _ = model.apply(params, state, text)
        now = lax.dynamic_index_in_dim(logits, i - 1, 1, keepdims=False)
        token = _draw(now, jax.random.fold_in(key, i), temperature)
        return lax.dynamic_update_index_in_dim(text, token, i, 1)

    text = jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, length)))
    return lax.fori_loop(known, known + length, write, text)[:, known:]


def _check(prompt: jax.Array, length: int, temperature: float) -> None:
    if prompt.ndim != 2 or prompt.shape[1] < 1 or not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise ValueError(
            f"prompt must be integers [batch, T] with T >= 1, found {prompt.dtype}{prompt.shape}"
        )
    if length < 1 or temperature < 0:
        raise ValueError(
            f"length={length}, temperature={temperature}; expected length >= 1, temperature >= 0"
        )


def _draw(logits: jax.Array, key: Key, temperature: float) -> jax.Array:
    if temperature == 0:
        return logits.argmax(-1).astype(jnp.int32)
    return jax.random.categorical(key, logits / temperature).astype(jnp.int32)
