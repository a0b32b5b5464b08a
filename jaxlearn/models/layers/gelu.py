"""The Gaussian error linear unit (Hendrycks and Gimpel, arXiv 1606.08415)."""

import jax


def gelu(x: jax.Array) -> jax.Array:
    """`x Phi(x)` with `Phi` the normal distribution's, not its approximation by a tanh.

    One function for all networks, so that layers which have it are equal (see `loop` of the rules).

    Example:
        >>> round(float(gelu(jax.numpy.array(1.0))), 6)
        0.841345
    """
    return jax.nn.gelu(x, approximate=False)
