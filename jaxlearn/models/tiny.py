"""The toy problem that every method is tried on by the batteries and the composition grid."""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Batch, Model, from_linen, stack

FEATURES, WIDTH, CLASSES = 16, 12, 3


class DenseRelu(linen.Module):
    """`relu(x W + b)`."""

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., features]` to `[..., width]`."""
        return linen.relu(linen.Dense(self.width)(x))


def tiny_batch(size: int = 32, seed: int = 0) -> Batch:
    """`size` points around three centres, `[size, 16]`, with their labels and positions."""
    centre_key = jax.random.key(0)
    label_key, noise_key = jax.random.split(jax.random.key(seed + 1))
    centres = jax.random.normal(centre_key, (CLASSES, FEATURES))
    labels = jax.random.randint(label_key, (size,), 0, CLASSES)
    noise = 0.3 * jax.random.normal(noise_key, (size, FEATURES))
    index = jnp.arange(size, dtype=jnp.int32)
    return {"inputs": centres[labels] + noise, "labels": labels, "index": index}


def tiny_blocks() -> list[Model]:
    """Two hidden blocks of 12 units."""
    return [from_linen(DenseRelu(WIDTH)), from_linen(DenseRelu(WIDTH))]


def tiny_head() -> Model:
    """A linear map to the three classes."""
    return from_linen(linen.Dense(CLASSES))


def tiny_stack() -> Model:
    """The blocks and the head as one network."""
    return stack([*tiny_blocks(), tiny_head()])


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """The toy network with its input, for the battery of models."""
    return {"tiny": (tiny_stack(), tiny_batch(8)["inputs"])}
