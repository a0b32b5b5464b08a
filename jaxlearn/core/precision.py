"""Computing in fewer bits than parameters are kept in."""

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Key, Model, PyTree


def computing_in(model: Model, dtype=jnp.bfloat16) -> Model:
    """The same model, computed in another floating-point type.

    Parameters and inputs are rounded to `dtype` inside `apply`; outputs, and the floating-point
    leaves of the state it returns, are float32. So what is trained, its gradients, the optimizer's
    moments, membranes, batch statistics and every loss stay in float32, and products run in
    `dtype` (Micikevicius et al., ICLR 2018, section 3.1; bfloat16 has float32's range, so losses
    need no scaling). For local rules wrap every block: `[computing_in(b) for b in blocks]`. What a
    block keeps for its backward pass are the rounded operands of its products.

    Args:
        model: what to compute; layers with a dtype of their own keep it.
        dtype: floating point.

    Raises:
        ValueError: for a type that is not floating point.

    Example:
        >>> from jaxlearn.core import from_linen
        >>> from flax import linen
        >>> model = computing_in(from_linen(linen.Dense(3)))
        >>> params, state = jax.jit(model.init)(jax.random.key(0), jnp.ones((2, 4)))
        >>> str(jax.make_jaxpr(model.apply)(params, state, jnp.ones((2, 4)))).count("bf16[2,3]") > 0
        True
        >>> jax.jit(model.apply)(params, state, jnp.ones((2, 4)))[0].dtype
        dtype('float32')
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"models compute in floating point, found dtype={dtype.name}")

    def apply(params: PyTree, state, x: PyTree, *, train: bool = False, key: Key | None = None):
        y, state = model.apply(_cast(params, dtype), state, _cast(x, dtype), train=train, key=key)
        return _cast(y, jnp.float32), _cast(state, jnp.float32)

    return Model(model.init, apply)


def _cast(tree: PyTree, dtype) -> PyTree:
    """Floating-point leaves in this type; the others (labels, tokens, keys) as they are."""
    floating = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if floating(leaf) else leaf, tree)
