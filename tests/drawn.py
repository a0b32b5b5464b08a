"""Networks as if trained: an `init` compiles a program for every shape, a draw of numpy none."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import trees


def drawn(shapes, seed=0):
    """A tree like `shapes`, away from where training starts.

    Weights are normal, over the root of their inputs; scales and variances lie around 1, other
    vectors around 0; whole numbers are 0.
    """
    draw = np.random.default_rng(seed)

    def one(keys, leaf):
        name, size = trees.path(keys).split("/")[-1], leaf.shape
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(np.zeros(size), leaf.dtype)
        if name in ("scale", "var"):
            found = draw.uniform(0.7, 1.3, size)
        elif len(size) > 1:
            found = draw.normal(size=size) / np.prod(size[:-1]) ** 0.5
        else:
            found = 0.1 * draw.normal(size=size)
        return jnp.asarray(found, leaf.dtype)

    return jax.tree.map_with_path(one, shapes)


def variables(model, x, seed=0):
    """Parameters and state of a model of `x`, drawn."""
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    return drawn(params, seed), drawn(state, seed + 1)
