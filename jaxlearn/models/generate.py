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
        >>> model, prompt = stack(spikegpt_blocks(11, 2, 8)), jnp.array([[1, 2], [3, 4]])
        >>> variables = model.init(jax.random.key(0), prompt)
        >>> generate(model, *variables, prompt, 5, jax.random.key(1)).shape
        (2, 5)
    """
    if prompt.ndim != 2 or prompt.shape[1] < 1 or not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise ValueError(
            f"prompt must be integers [batch, T] with T >= 1, found {prompt.dtype}{prompt.shape}"
        )
    if length < 1 or temperature < 0:
        raise ValueError(
            f"length={length}, temperature={temperature}; expected length >= 1, temperature >= 0"
        )

    def draw(logits: jax.Array, key: Key) -> jax.Array:
        if temperature == 0:
            return logits.argmax(-1).astype(jnp.int32)
        return jax.random.categorical(key, logits / temperature).astype(jnp.int32)

    def write(carry, key: Key):
        token, state = carry
        logits, state = model.apply(params, state, token[:, None])
        return (draw(logits[:, -1], key), state), token

    keys = jax.random.split(key, length)
    logits, state = model.apply(params, trees.lasting(state), prompt)
    first = draw(logits[:, -1], keys[0])
    (last, _), tokens = lax.scan(write, (first, state), keys[1:])
    return jnp.concatenate([tokens, last[None]]).T
