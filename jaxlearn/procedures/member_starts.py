"""What a member of MixtureGrowth may begin with: the other member, or more templates.

Options of Pham, Teterwak, Nelson and Plummer, WACV 2024, arXiv 2311.04251, and its released code.
Members are `(theta, frozen)` of `jaxlearn.parametrizations.templates.member`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Params, PyTree
from jaxlearn.parametrizations.templates import member


def copied_member(theta: PyTree, other: PyTree, key: Key, noise: float = 0.01) -> PyTree:
    """A member that begins near the other one: `x + noise N(0, 1)` for its templates and norms.

    Its coefficients stay its own, so that it is another mixture of nearly the same templates.

    Args:
        theta: of the member that begins, as initialised.
        other: of the one that is trained.
        key: for the noise.
        noise: its deviation.

    Raises:
        ValueError: when the members differ in their layers.

    Example:
        >>> params = {"kernel": jnp.ones((4, 6))}
        >>> first, second = (member(i, 2).init(jax.random.key(0), params)[0] for i in (0, 1))
        >>> near = copied_member(second, first, jax.random.key(1), noise=0.0)
        >>> bool((near["templates"]["kernel"] == first["templates"]["kernel"]).all())
        True
    """
    if jax.tree.map(jnp.shape, theta) != jax.tree.map(jnp.shape, other):
        raise ValueError("the members have different layers; both need the same architecture")
    copied = {name: other[name] for name in ("templates", "rest")}
    leaves, tree = jax.tree.flatten(copied)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        x + noise * jax.random.normal(k, x.shape, x.dtype)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return theta | jax.tree.unflatten(tree, noisy)


def with_more_templates(
    trained: tuple[PyTree, PyTree],
    number: int,
    count: int,
    key: Key,
    params: Params,
    **options: Any,
) -> tuple[PyTree, PyTree]:
    """A trained member with templates to spare, for growth: its weights stay the same.

    New templates are drawn as a member's first ones are, and their coefficients are zero. What the
    new blocks begin as are rows of a new matrix, in which the new templates have a part.

    Args:
        trained: `(theta, frozen)`.
        number: 0 or 1, as in `member`.
        count: `K`, templates per set from now on.
        key: the same for both members.
        params: weights of the member or their shapes.
        options: those of `member`.

    Raises:
        ValueError: when it would have fewer templates than it has.
    """
    theta, frozen = trained
    known = max(len(leaf) for leaf in jax.tree.leaves(theta["templates"]))
    if count < known:
        raise ValueError(f"count={count} is less than the {known} templates that there are")
    shapes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    fresh, fresh_frozen = member(number, count, **options).init(key, shapes)
    templates = {
        path: jnp.concatenate([own, fresh["templates"][path][len(own) :]])
        for path, own in theta["templates"].items()
    }
    coefficients = {
        path: jnp.pad(row, (0, count - len(row))) for path, row in theta["coefficients"].items()
    }
    grown = theta | {"templates": templates, "coefficients": coefficients}
    return grown, frozen | {"spare": fresh_frozen["spare"]}
