"""Random changes of sequences in JAX, inside the compiled step and keyed by example.

Functions `(batch, key) -> batch`, as `core.prepared` takes them. What is drawn for an example
depends on the key and its `"index"` alone (`core.keys.each_example`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.core import Batch, Key, keys

Augment = Callable[[Batch, Key], Batch]


def span(key: Key, size: int, longest: int | jax.Array) -> jax.Array:
    """Bool [size]: a run of 0 to `longest` places, every length and every place equally likely."""
    for_length, for_start = jax.random.split(key)
    length = jax.random.randint(for_length, (), 0, longest + 1)
    start = jax.random.randint(for_start, (), 0, size - length + 1)
    place = jnp.arange(size)
    return (place >= start) & (place < start + length)


def mask_time_and_neurons(time: int, neurons: int, chance: float = 0.5) -> Augment:
    """Silence a span of frames and a span of input neurons of inputs `[B, T, neurons]`.

    Each of the two happens with probability `chance`; lengths are uniform from 0 to `time` and from
    0 to `neurons` (SpecAugment, Park et al., Interspeech 2019, without the warp). Silent is 0,
    which is no spike, or the mean of a standardised band.

    Raises:
        ValueError: when `chance` is no probability, or a length is negative or beyond the inputs.

    Example:
        >>> batch = {"inputs": jnp.ones((2, 6, 4)), "index": jnp.array([3, 5])}
        >>> mask_time_and_neurons(3, 2)(batch, jax.random.key(0))["inputs"].shape
        (2, 6, 4)
    """
    _check(chance, time=time, neurons=neurons)

    def silence(key: Key, x: jax.Array) -> jax.Array:
        for_chance, for_time, for_neurons = jax.random.split(key, 3)
        late, wide = jax.random.bernoulli(for_chance, chance, (2,))
        frames = late & span(for_time, x.shape[0], time)
        bands = wide & span(for_neurons, x.shape[1], neurons)
        return jnp.where(frames[:, None] | bands, jnp.zeros((), x.dtype), x)

    def augment(batch: Batch, key: Key) -> Batch:
        x = _sequences(batch)
        if time > x.shape[1] or neurons > x.shape[2]:
            raise ValueError(f"spans of {time} frames and {neurons} neurons in inputs {x.shape}")
        return batch | {"inputs": jax.vmap(silence)(keys.each_example(key, batch), x)}

    return augment


def cut_mix(longest: float, chance: float = 0.5) -> Augment:
    """Put a span of another sequence in the place of the same span of inputs `[B, T, neurons]`.

    CutMix (Yun et al., ICCV 2019) along time. With probability `chance` a span of 0 to
    `longest * T` frames comes from the neighbour in the batch, the last one's being the first, and
    the batch says what is in it now as `data.cutmix` does: `"partner"`, labels and index of the
    other sequence, and `"mix"`, per example the share of frames that are its own (1 where nothing
    was put). Batches are shuffled, so a neighbour is any example; on several devices, or in
    microbatches, it is the neighbour there.

    Raises:
        ValueError: when `chance` or `longest` is not between 0 and 1.

    Example:
        >>> x, labels = jnp.arange(2.0)[:, None, None] * jnp.ones((2, 4, 1)), jnp.array([0, 1])
        >>> batch = {"inputs": x, "labels": labels, "index": labels}
        >>> mixed = cut_mix(1.0, 1.0)(batch, jax.random.key(1))
        >>> float(mixed["inputs"][1].mean()) == float(mixed["mix"][1])
        True
    """
    _check(chance)
    if not 0 <= longest <= 1:
        raise ValueError(f"longest={longest}; it is a share of the frames, 0 to 1")

    def augment(batch: Batch, key: Key) -> Batch:
        x = _sequences(batch)
        size = x.shape[1]

        def taken(key: Key) -> jax.Array:
            for_chance, for_span = jax.random.split(key)
            return jax.random.bernoulli(for_chance, chance) & span(
                for_span, size, round(longest * size)
            )

        there = jax.vmap(taken)(keys.each_example(key, batch))
        return batch | {
            "inputs": jnp.where(there[..., None], jnp.roll(x, -1, 0), x),
            "partner": {name: jnp.roll(batch[name], -1, 0) for name in ("labels", "index")},
            "mix": 1 - there.mean(1, dtype=jnp.float32),
        }

    return augment


def _sequences(batch: Batch) -> jax.Array:
    x = jnp.asarray(batch["inputs"])
    if x.ndim != 3:
        raise ValueError(f"expected sequences [batch, time, neurons], found {x.shape}")
    return x


def _check(chance: float, **lengths: int) -> None:
    if not 0 <= chance <= 1:
        raise ValueError(f"chance={chance}; it is a probability")
    for name, length in lengths.items():
        if length < 0:
            raise ValueError(f"{name}={length}; it cannot be negative")
