"""Parameters that stay between two bounds."""

import jax
import jax.numpy as jnp
import optax


def box(low: float, high: float) -> optax.GradientTransformation:
    """Cut updates so that parameters end in `[low, high]`: `u <- clip(p + u, low, high) - p`.

    Stands last in a chain. Parameters that begin within the bounds never leave them, not by a
    rounding error either.

    Raises:
        ValueError: when the bounds are in the wrong order.

    Example:
        >>> tx = optax.chain(optax.sgd(1.0), box(-1.0, 1.0))
        >>> p = jnp.array([0.5, -0.5])
        >>> updates, _ = tx.update(jnp.array([-3.0, 0.25]), tx.init(p), p)
        >>> optax.apply_updates(p, updates).tolist()
        [1.0, -0.75]
    """
    if not low <= high:
        raise ValueError(f"box needs low <= high, found low={low} and high={high}")

    def cut(update: jax.Array, param: jax.Array) -> jax.Array:
        inside = jnp.clip(param + update, low, high) - param
        # the difference is rounded, so that the sum may miss the bound by its last bit
        inside = jnp.where(param + inside > high, jnp.nextafter(inside, -jnp.inf), inside)
        return jnp.where(param + inside < low, jnp.nextafter(inside, jnp.inf), inside)

    return optax.stateless(lambda updates, params: jax.tree.map(cut, updates, params))


def examples() -> dict[str, optax.GradientTransformation]:
    """SGD within bounds that toy parameters reach."""
    return {"sgd-box": optax.chain(optax.sgd(0.05), box(-2.0, 2.0))}
