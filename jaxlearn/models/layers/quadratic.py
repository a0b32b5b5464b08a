"""Quadratic neurons as dense layers and convolutions.

Fan et al., "On Expressivity and Trainability of Quadratic Networks", IEEE TNNLS 36(1), 2025,
arXiv 2110.06081. A neuron costs three inner products instead of one; it is not `x^T Q x`, and not
`W x + (U x)^2`.
"""

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen
from jaxlearn_kernels.quadratic import Branch
from jaxlearn_kernels.quadratic import quadratic as fused

from jaxlearn.core import Model, Params, from_linen
from jaxlearn.models.layers.conv import convolve

FORMS = {
    "full": ("r", "g", "b"),
    "compact": ("r", "b"),
    "product": ("r", "g"),
    "conventional": ("r",),
    "squared": ("r",),
}
"""The branches that each form of the neuron has parameters for."""
STARTS = ("relinear", "random")
"""What the quadratic branches start from: a conventional neuron, or Kaiming weights like `r`."""
Product = Callable[[jax.Array, jax.Array], jax.Array]
"""`(x, kernel) -> x * kernel`, linear in both: a matrix product or a convolution."""
KAIMING = linen.initializers.variance_scaling(2.0, "fan_in", "normal")


def quadratic(
    params: Mapping[str, jax.Array],
    x: jax.Array,
    *,
    form: str = "full",
    product: Product = jnp.matmul,
    active: bool = True,
    recompute: bool = False,
) -> jax.Array:
    """A layer of neurons `h(x) = (x W_r + b_r)(x W_g + b_g) + (x^2) W_b + c`, or a reduced form.

    ==============  ========================================================================
    form            h(x)
    ==============  ========================================================================
    `full`          `r g + q` with `r = x W_r + b_r`, `g = x W_g + b_g`, `q = (x^2) W_b + c`
    `compact`       `r + q`
    `product`       `r g`
    `conventional`  `r`
    `squared`       `r^2`, a conventional neuron with the activation `z^2`
    ==============  ========================================================================

    r and g read the same x and are computed by one product with twice the outputs. Dense layers
    with several branches are one kernel on TPU and GPU, see `jaxlearn_kernels.quadratic`.

    Args:
        params: `kernel_r`, `bias_r` and, where the form has them, the same for `g` and `b`; `c` is
            `bias_b`.
        x: `[..., inputs]`.
        form: one of `FORMS`.
        product: what `x W` is.
        active: with False only the branch r is computed, at the cost of a conventional layer. That
            is the same function while `W_g = W_b = 0`, `b_g = 1`, `c = 0`, and what training with
            rate 0 for g and b needs; their gradients are zero.
        recompute: keep x alone for the backward pass and compute r, g and x^2 again there, instead
            of keeping them.

    Raises:
        ValueError: when the form is unknown.

    Example:
        >>> params = {"kernel_r": jnp.ones((2, 1)), "bias_r": jnp.zeros(1)}
        >>> params |= {"kernel_g": jnp.zeros((2, 1)), "bias_g": jnp.full(1, 3.0)}
        >>> params |= {"kernel_b": jnp.ones((2, 1)), "bias_b": jnp.ones(1)}
        >>> quadratic(params, jnp.array([[1.0, 2.0]])).tolist()  # 3 * 3 + (1 + 4) + 1
        [[15.0]]
    """
    _known("form", form, FORMS)
    if product is jnp.matmul and active and len(FORMS[form]) > 1:
        branch = lambda k: Branch(params[f"kernel_{k}"], params[f"bias_{k}"])
        g, b = (branch(k) if k in FORMS[form] else None for k in "gb")
        return fused(x, branch("r"), g, b, recompute=recompute)
    whole = partial(_quadratic, form=form, product=product, active=active)
    return (jax.checkpoint(whole) if recompute else whole)(dict(params), x)


def _quadratic(
    params: dict[str, jax.Array], x: jax.Array, *, form: str, product: Product, active: bool
) -> jax.Array:
    if active and "g" in FORMS[form]:
        both = lambda name: jnp.concatenate([params[f"{name}_r"], params[f"{name}_g"]], -1)
        r, g = jnp.split(product(x, both("kernel")) + both("bias"), 2, -1)
        y = r * g
    else:
        y = product(x, params["kernel_r"]) + params["bias_r"]
    if active and "b" in FORMS[form]:
        y = y + product(x * x, params["kernel_b"]) + params["bias_b"]
    return y * y if form == "squared" else y


class QuadraticDense(linen.Module):
    """Quadratic neurons over the last axis, see `quadratic`.

    `kernel_r` is Kaiming normal over fan-in and `bias_r` uniform in `±1/sqrt(inputs)`. With
    `start="relinear"` the other kernels and `bias_b` are 0 and `bias_g` is 1, so that every neuron
    starts as the conventional one; with `"random"` all branches start like r.

    Attributes:
        features: neurons.
        form: one of `FORMS`.
        start: one of `STARTS`.
        active: whether the quadratic branches are computed.
        recompute: whether the backward pass computes them again.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (4, 3))
        >>> layer, plain = QuadraticDense(2), QuadraticDense(2, form="conventional")
        >>> y, _ = layer.init_with_output(jax.random.key(1), x)
        >>> bool(jnp.allclose(y, plain.init_with_output(jax.random.key(1), x)[0]))
        True
    """

    features: int
    form: str = "full"
    start: str = "relinear"
    active: bool = True
    recompute: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., inputs]` to `[..., features]`."""
        params = _parameters(self, (x.shape[-1], self.features), self.form, self.start)
        options = {"form": self.form, "active": self.active, "recompute": self.recompute}
        return quadratic(params, x, product=jnp.matmul, **options)


class QuadraticConv(linen.Module):
    """`conv_r(x) conv_g(x) + conv_b(x^2)`: the neuron of `QuadraticDense` at every place.

    The three convolutions are square, of equal geometry, padded by `size // 2`, with biases.

    Attributes:
        features: channels out.
        size: of the kernel.
        stride: distance between outputs.
        form: one of `FORMS`.
        start: one of `STARTS`.
        active: whether the quadratic branches are computed.
        recompute: whether the backward pass computes them again.
    """

    features: int
    size: int = 3
    stride: int = 1
    form: str = "full"
    start: str = "relinear"
    active: bool = True
    recompute: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        params = _parameters(self, shape, self.form, self.start)
        options = {"form": self.form, "active": self.active, "recompute": self.recompute}
        if self.size == self.stride == 1:  # a dense layer at every place
            params = {name: leaf.reshape(leaf.shape[-2:]) for name, leaf in params.items()}
            return quadratic(params, x, product=jnp.matmul, **options)
        return quadratic(params, x, product=partial(convolve, stride=self.stride), **options)


def _parameters(layer: linen.Module, shape: tuple[int, ...], form: str, start: str) -> Params:
    """The branches of a form; r comes first, so that it is drawn alike in all of them."""
    _known("form", form, FORMS)
    _known("start", start, STARTS)
    bound = math.prod(shape[:-1]) ** -0.5
    uniform: Callable = lambda key, shape: jax.random.uniform(
        key, shape, jnp.float32, -bound, bound
    )
    params = {}
    for branch in FORMS[form]:
        drawn = branch == "r" or start == "random"
        kernel = KAIMING if drawn else linen.initializers.zeros
        bias = uniform if drawn else linen.initializers.constant(float(branch == "g"))
        params[f"kernel_{branch}"] = layer.param(f"kernel_{branch}", kernel, shape)
        params[f"bias_{branch}"] = layer.param(f"bias_{branch}", bias, shape[-1:])
    return params


def group_of(path: str) -> str:
    """The parameter group of a leaf by its path: `"g"` and `"b"` are the quadratic ones.

    Leaves below a parameter, such as the factors of its low-rank difference, are of its group.

    Example:
        >>> [group_of(p) for p in ("0/kernel_r", "0/bias_g", "0/kernel_b/a", "1/Dense_0/kernel")]
        ['r', 'g', 'b', 'other']
    """
    for part in reversed(path.split("/")):
        name, _, branch = part.rpartition("_")
        if name in ("kernel", "bias") and branch in ("r", "g", "b"):
            return branch
    return "other"


def anchor_of(path: str) -> float:
    """What a quadratic parameter is at a conventional neuron: 1 for `b_g`, 0 for all others."""
    return float(path.rpartition("/")[2] == "bias_g")


def with_linear_path(quadratic_params: Params, conventional: Params) -> Params:
    """The parameters of a quadratic network that computes what a conventional one does.

    Every quadratic layer takes the kernel of its counterpart as `W_r`, the bias as `b_r` (0 where
    there is none), and `W_g = W_b = 0`, `b_g = 1`, `c = 0`; all other leaves are copied. This is
    the start from a trained conventional model.

    Args:
        quadratic_params: gives the layers and shapes; its values are not used.
        conventional: a tree of the same modules, with `kernel` and `bias`, or `kernel_r` and
            `bias_r`, where the other has quadratic layers.

    Raises:
        ValueError: naming the first place where the trees do not fit.

    Example:
        >>> params = jax.jit(QuadraticDense(1).init)(jax.random.key(0), jnp.ones((1, 2)))["params"]
        >>> found = with_linear_path(params, {"kernel": jnp.ones((2, 1))})
        >>> QuadraticDense(1).apply({"params": found}, jnp.ones((1, 2))).tolist()
        [[2.0]]
    """
    return _adopted(quadratic_params, conventional, "")


def _adopted(ours: Params, theirs: Params, where: str) -> Params:
    if not isinstance(ours, Mapping):
        if jnp.shape(ours) != jnp.shape(theirs):
            raise ValueError(
                f"{where[1:] or 'the leaf'} needs shape {jnp.shape(ours)}, found "
                f"{jnp.shape(theirs)}; give the parameters of the same network"
            )
        return theirs
    if not isinstance(theirs, Mapping):
        raise ValueError(f"{where[1:] or 'the tree'} is a leaf, expected the keys {sorted(ours)}")
    if "kernel_r" in ours:
        return _linear_path(ours, theirs, where)
    if ours.keys() != theirs.keys():
        raise ValueError(
            f"{where[1:] or 'the tree'} has the keys {sorted(theirs)}, expected {sorted(ours)}"
        )
    return {name: _adopted(ours[name], theirs[name], f"{where}/{name}") for name in ours}


def _linear_path(ours: Params, theirs: Params, where: str) -> Params:
    plain = {name.removesuffix("_r"): leaf for name, leaf in theirs.items()}
    if "kernel" not in plain:
        raise ValueError(f"{where[1:] or 'the tree'} has no kernel, found {sorted(theirs)}")
    found = {name: jnp.full_like(leaf, anchor_of(name)) for name, leaf in ours.items()}
    for name in ("kernel", "bias"):
        own = f"{name}_r"
        found[own] = _adopted(ours[own], plain.get(name, found[own]), f"{where}/{own}")
    return found


def _known(what: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ValueError(f"{what}={value!r} is unknown; it is one of {', '.join(known)}")


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Every form, and a strided convolution, with their inputs."""
    x = jax.random.normal(jax.random.key(0), (4, 6))
    found = {f"quadratic-{form}": (from_linen(QuadraticDense(3, form)), x) for form in FORMS}
    image = jax.random.normal(jax.random.key(1), (2, 6, 6, 2))
    return found | {"quadratic-conv": (from_linen(QuadraticConv(3, stride=2)), image)}
