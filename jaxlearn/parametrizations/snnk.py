"""Adapters as parametrizations: what of an adapted network is trained.

Scalable neural network kernels: Sehanobish et al., ICLR 2024, arXiv 2310.13225, section 5.

An SNNK adapter `x + s * (Omega phi(x))` adds a function that no change of the frozen weights can
express, because `phi` is not linear. So it needs a place in the network: models such as
`jaxlearn.models.encoder` take an adapter as a module and keep its parameters among theirs, next to
the layers they follow, and its random draws in the collection `"frozen"`. What is left to the
parametrization is to train these parameters alone: `adapters_only`. At `s = 0` the adapted network
is the pretrained one.

Where `phi` is linear the adapter does fold into the weights before it, for any network:
`linear_snnk`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, PyTree, trees
from jaxlearn.parametrizations.freeze import freeze

TRAINED = ("adapter", "pooler", "classifier")


def adapters_only(
    also: Sequence[str] = TRAINED[1:], *, adapter: str = "adapter"
) -> Parametrization:
    """Train the adapters of a network, and its pooler and classifier, and keep the rest.

    A parameter is trained when a part of its path begins with one of the names:
    `"layer_0/adapter_ffn/omega"` does, `"layer_0/ffn/kernel"` does not.

    Args:
        also: names of other parts that are trained.
        adapter: the beginning of the adapters' names.

    Raises:
        ValueError: at `init`, when the network has no such part.

    Example:
        >>> params = {"layer_0": {"ffn": 1.0, "adapter_ffn": {"scale": 2.0}}, "classifier": 3.0}
        >>> theta, frozen = adapters_only().init(None, params)
        >>> jax.tree.leaves(theta), jax.tree.leaves(frozen)
        ([3.0, 2.0], [1.0])
    """
    names = (adapter, *also)
    return freeze(lambda path: any(part.startswith(names) for part in path.split("/")))


def linear_snnk(
    count: int, *, adapted: Callable[[str], bool] = lambda path: True
) -> Parametrization:
    """The adapter with linear features, folded into the weights: `W = W0 + W0 R Omega^T s`.

    The layer `y = x W0` followed by `y + s * (Omega phi(y))`, where `phi(y) = R^T y` with
    `R = G^T / sqrt(count)` is what ReLU features with a floor turn into as the floor falls; their
    kernel is `w . x`. A leaf `[..., n, l]` gets `Omega [l, count]`, drawn with variance
    `1 / count`, and `s [l]`, zero, `l (count + 1)` numbers; `G [count, l]` is Gaussian, fixed and
    part of the frozen tree. A bias stays behind the adapter, so it is not adapted.

    Args:
        count: number of features.
        adapted: which paths get an adapter; leaves with fewer than two axes never do.

    Raises:
        ValueError: when `count < 1` or no leaf is adapted.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1 feature, found {count}")

    def init(key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        theta, projections = {}, {}
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            name = trees.path(keys)
            if leaf.ndim >= 2 and adapted(name):
                fixed, own = jax.random.split(jax.random.fold_in(key, i))
                projections[name] = _normal(fixed, (leaf.shape[-1], count), leaf, count)
                omega = _normal(own, (leaf.shape[-1], count), leaf, count)
                scale = jnp.zeros(leaf.shape[-1], leaf.dtype)
                theta[name] = {"omega": omega, "scale": scale}
        if not theta:
            raise ValueError("linear_snnk adapts no parameter: none has two axes and is adapted")
        return theta, {"params": params, "projections": projections}

    def materialize(theta: PyTree, frozen: PyTree) -> PyTree:
        def adapt(keys, leaf: jax.Array) -> jax.Array:
            own = theta.get(trees.path(keys))
            if own is None:
                return leaf
            seen = leaf @ frozen["projections"][trees.path(keys)]
            return leaf + (seen @ own["omega"].T * own["scale"]).astype(leaf.dtype)

        return jax.tree.map_with_path(adapt, frozen["params"])

    return Parametrization(init, materialize)


def _normal(key: Key, shape: tuple[int, int], like: jax.Array, count: int) -> jax.Array:
    return jax.random.normal(key, shape, like.dtype) / jnp.sqrt(count).astype(like.dtype)


def examples() -> dict[str, Parametrization]:
    """The linear adapter on every matrix."""
    return {"linear-snnk": linear_snnk(8)}
