"""The masks that training starts with."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.distributions import Distribution, Shape, counts, named
from jaxlearn.transforms.sparsity.select import largest_each

Initial = Callable[[Sequence[Shape], Key | None], list[jax.Array]]
"""`initial(shapes, key)`: one mask per prunable leaf."""


def dense(shapes: Sequence[Shape], key: Key | None) -> list[jax.Array]:
    """Everything is active."""
    del key
    return [jnp.ones(shape, bool) for shape in shapes]


def random(
    density: float, distribution: str | Distribution = "erk", *, bernoulli: bool = False
) -> Initial:
    """Random positions with the counts of a distribution, `floor(density * N)` in all.

    Args:
        density: of all prunable weights together; 1 is `dense`.
        distribution: `"erk"`, `"er"`, `"uniform"` or a function, see `distributions`.
        bernoulli: draw every position for itself, so that counts hold on average only, as the
            released code of GraNet does.
    """
    share = named(distribution)

    def initial(shapes: Sequence[Shape], key: Key | None) -> list[jax.Array]:
        densities = share(shapes, density)
        if density == 1:
            return dense(shapes, key)
        if key is None:
            raise ValueError("random masks need a key: pass key=jax.random.key(seed)")
        keys = list(jax.random.split(key, len(shapes)))
        if bernoulli:
            drawn = zip(keys, densities, shapes, strict=True)
            return [jax.random.bernoulli(k, min(d, 1.0), shape) for k, d, shape in drawn]
        sizes = [math.prod(shape) for shape in shapes]
        scores = [jax.random.uniform(k, shape) for k, shape in zip(keys, shapes, strict=True)]
        return largest_each(scores, counts(sizes, densities), dense(shapes, key))

    return initial
