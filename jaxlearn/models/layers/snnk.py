"""Layers whose parameters meet their inputs in a scalar product of features.

Scalable neural network kernels: Sehanobish, Choromanski, Zhao, Dubey, Likhosherstov, ICLR 2024,
arXiv 2310.13225.
"""

import jax
from flax import linen

from jaxlearn.core import FROZEN, Model, PyTree, from_linen
from jaxlearn.models.layers.random_features import (
    Draws,
    Features,
    relu_features,
    universal_features,
)

OMEGA, DRAWS = "omega", "draws"


class SNNK(linen.Module):
    """`y = Omega phi(x)`, in place of `f(W x + b)`: a dense layer and its activation.

    `Omega [outputs, width]` are the only parameters: `psi` of rows is trained directly and never
    computed from weights again, so a layer of `l` outputs and `m` features costs `l m` numbers
    whatever the inputs. It starts as `psi(W0, b0 = 0)` of a dense layer's initial weights (or of
    trained ones, see `carry_over`). The draws of `phi` are in the collection `"frozen"`: they are
    saved with the state, and nothing trains or averages them.

    Attributes:
        outputs: `l`.
        features: the pair of maps, with its number of features.
        kernel_init: draws `W0 [inputs, outputs]`.

    Example:
        >>> from jaxlearn.models.layers.random_features import relu_features
        >>> layer = SNNK(256, relu_features(16))
        >>> variables = jax.jit(layer.init)(jax.random.key(0), jax.numpy.ones((1, 784)))
        >>> jax.tree.map(jax.numpy.shape, variables["params"])
        {'omega': (256, 16)}
    """

    outputs: int
    features: Features
    kernel_init: jax.nn.initializers.Initializer = linen.initializers.lecun_normal()

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., inputs]` to `[..., outputs]`."""
        draws = frozen_draws(self, self.features, x.shape[-1])

        def start(key: jax.Array) -> jax.Array:
            rows = self.kernel_init(key, (x.shape[-1], self.outputs), x.dtype).T
            return self.features.psi(draws, rows, None)

        return self.features.phi(draws, x) @ self.param(OMEGA, start).T


def frozen_draws(module: linen.Module, features: Features, inputs: int) -> Draws:
    """The draws of a module, made once with the parameters' key and kept as they are."""
    make = lambda: features.draw(module.make_rng("params"), inputs)
    return module.variable(FROZEN, DRAWS, make).value


def carry_over(
    dense: PyTree, target: PyTree, frozen: PyTree = None, features: Features | None = None
) -> PyTree:
    """The parameters of a network, some dense layers of which have become SNNK layers.

    Where `target` has an `Omega` and `dense` a kernel and a bias at the same path, the result has
    `psi(W, b)` with the draws of that very layer, or `psi(W)` where the kernel has no place for a
    bias; all else that both have is copied from `dense`, and what only `target` has stays (a new
    head, adapters).

    Args:
        dense: parameters of the trained network.
        target: parameters of the new one, for their structure.
        frozen: the new one's collection `"frozen"`; needed where layers have become SNNK layers.
        features: the maps of those layers.

    Raises:
        ValueError: when a leaf has another shape in the two networks, or `features` are missing.
    """
    if not isinstance(target, dict):
        if jax.numpy.shape(dense) != jax.numpy.shape(target):
            shapes = f"{jax.numpy.shape(dense)} and {jax.numpy.shape(target)}"
            raise ValueError(f"the two networks differ in a leaf that both have: {shapes}")
        return dense
    if OMEGA in target and "kernel" in dense:
        if features is None:
            raise ValueError(
                "a dense layer has become an SNNK layer: carry_over needs its features"
            )
        return target | {OMEGA: _from_dense(dense, frozen[DRAWS], features)}
    shared = target.keys() & dense.keys()
    below = lambda name: frozen.get(name, {}) if isinstance(frozen, dict) else {}
    moved = {k: carry_over(dense[k], target[k], below(k), features) for k in shared}
    return target | moved


def _from_dense(layer: PyTree, draws: Draws, features: Features) -> jax.Array:
    bias = layer.get("bias") if features.takes_bias else None
    return features.psi(draws, layer["kernel"].T, bias)


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A layer of each kind of features."""
    x = jax.random.normal(jax.random.key(0), (4, 6))
    relu, sin = relu_features(8), universal_features("sin", 8)
    return {
        "relu-snnk": (from_linen(SNNK(3, relu)), x),
        "sin-snnk": (from_linen(SNNK(3, sin)), x),
    }
