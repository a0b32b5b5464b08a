"""Parts of a parameter that stay as they are."""

from collections.abc import Callable

import jax
import optax

from jaxlearn.core import trees


def hold(
    inner: optax.GradientTransformation, held: Callable[[str], slice | None]
) -> optax.GradientTransformation:
    """Train with `inner`, except for some rows: their update is zero, decay and momentum included.

    Stands outside of everything else that changes updates. What `inner` keeps for the rows, such as
    moments, goes on as if they moved. Whole leaves are better left out by
    `jaxlearn.parametrizations.freeze`, which saves their gradients.

    Args:
        inner: the transformation of all parameters.
        held: from the path of a parameter (`"0/kernel"`) to the rows of its first axis that stay,
            None for a parameter that trains whole.

    Raises:
        ValueError: at an update, for rows of a parameter without axes.

    Example:
        >>> tx = hold(optax.sgd(1.0), lambda path: slice(0, 2) if path == "c" else None)
        >>> params = {"b": jax.numpy.ones(2), "c": jax.numpy.ones(4)}
        >>> tx.update(params, tx.init(params), params)[0]["c"].tolist()
        [0.0, 0.0, -1.0, -1.0]
    """

    def still(keys, update: jax.Array) -> jax.Array:
        path = trees.path(keys)
        rows = held(path)
        if rows is None:
            return update
        if not update.ndim:
            raise ValueError(f"{path} has no axis, so that no rows of it can be held")
        return update.at[rows].set(0)

    def stayed(updates, params):
        del params
        return jax.tree.map_with_path(still, updates)

    return optax.chain(inner, optax.stateless(stayed))


def examples() -> dict[str, optax.GradientTransformation]:
    """Momentum, with the last row of every kernel held."""
    inner = optax.sgd(0.03, 0.5)
    return {"hold": hold(inner, lambda path: slice(-1, None) if path.endswith("kernel") else None)}
