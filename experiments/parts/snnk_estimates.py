"""How far random features are from what they estimate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.models.layers.gelu import gelu
from jaxlearn.models.layers.random_features import SPECTRA, Features, arc_cosine

INPUTS, PAIRS = 16, 32


def errors(
    function: str, features: Features, count: int, sizes: tuple[int, ...]
) -> Callable[[Key], jax.Array]:
    """`key -> [sizes]`: root mean square errors over `(x, w, b)` by the number of features.

    One draw of `count` features serves all sizes: cut into blocks of m features, each block is an
    estimator. Pairs are Gaussian with a mean squared norm of 1, `b` is uniform in [-1, 1].

    Args:
        function: what is estimated, `"relu"` for the arc-cosine kernel.
        features: `count` of them.
        count: a multiple of every size.
        sizes: the m.
    """

    @jax.jit
    def of(key: Key) -> jax.Array:
        keys = jax.random.split(key, 4)
        x, w = jax.random.normal(keys[0], (2, PAIRS, INPUTS)) / jnp.sqrt(INPUTS)
        b = None if function == "relu" else jax.random.uniform(keys[1], (PAIRS,), minval=-1.0)
        draws = features.draw(keys[2], INPUTS)
        product = features.phi(draws, x) * features.psi(draws, w, b)
        # one feature's estimate in every column: real and imaginary parts lie `count` apart
        each = count * product.reshape(PAIRS, -1, count).sum(1) - truth(function, x, w, b)
        means = [each.reshape(PAIRS, -1, m).mean(-1) for m in sizes]
        return jnp.stack([jnp.sqrt((mean**2).mean()) for mean in means])

    return of


def truth(function: str, x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
    """`f(w . x + b)` of every pair of rows, or their arc-cosine kernel: `[pairs, 1]`."""
    if b is None:
        return jnp.diagonal(arc_cosine(x, w))[:, None]
    functions = {name: spectrum.function for name, spectrum in SPECTRA.items()}
    functions |= {"gelu": gelu, "softplus": jax.nn.softplus, "tanh": jnp.tanh}
    return functions[function]((x * w).sum(-1) + b)[:, None]
