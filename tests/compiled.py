"""Models and rules whose functions are one program each, not one for every operation."""

import jax

from jaxlearn.core import Model


def compiled(made):
    """The model or rule with its functions compiled."""
    if isinstance(made, Model):
        return Model(jax.jit(made.init), jax.jit(made.apply, static_argnames="train"))
    return made._replace(
        init=jax.jit(made.init), signal=jax.jit(made.signal), predict=jax.jit(made.predict)
    )
