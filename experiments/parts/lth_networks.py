"""The networks of `lth_rewinding.py`, initialised and exempted as in the authors' later code."""

import jax

from jaxlearn.core import Key, Model, Params, PyTree, State, stack, trees
from jaxlearn.models.cifar_resnet import cifar_resnet, classifier
from jaxlearn.models.lenet import lenet_300_100
from jaxlearn.models.vgg import VGG16, vgg
from jaxlearn.transforms.sparsity import Prunable, except_for, matrices_and_filters

EXEMPT = {
    "mlp": ("Dense_2/*",),
    "lenet": ("Dense_2/*",),
    "vgg16": ("Dense_0/*",),
    "resnet20": (),
}
"""Output layers that are never pruned: LeNet's and VGG's; the ResNet's is pruned."""


def network(name: str) -> Model:
    """The network of that name.

    Example:
        >>> network("resnet20") is not None
        True
    """
    match name:
        case "mlp":
            return lenet_300_100(widths=(64, 32))
        case "lenet":
            return lenet_300_100()
        case "vgg16":
            return published_init(vgg(VGG16))
        case "resnet20":
            return published_init(stack([*cifar_resnet((3, 3, 3)), classifier(10)]))
    raise ValueError(f"unknown network {name!r}, expected one of {sorted(EXEMPT)}")


def prunable(name: str) -> Prunable:
    """Which leaves of the network have masks."""
    return except_for(matrices_and_filters, *EXEMPT[name])


def published_init(model: Model) -> Model:
    """The model with kaiming normal weights and batch-norm scales drawn from U[0, 1].

    Weights have variance `2 / inputs`, the window of a filter counted in.
    """

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = model.init(key, x)
        kernel = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")

        def drawn(own: Key, place: str, leaf: jax.Array) -> jax.Array:
            if leaf.ndim > 1:
                return kernel(own, leaf.shape, leaf.dtype)
            is_scale = place.endswith("scale")
            return jax.random.uniform(own, leaf.shape, leaf.dtype) if is_scale else leaf

        leaves, structure = jax.tree.flatten_with_path(params)
        keys = jax.random.split(key, len(leaves))
        pairs = zip(keys, leaves, strict=True)
        return structure.unflatten(
            [drawn(k, trees.path(at), leaf) for k, (at, leaf) in pairs]
        ), state

    return Model(init, model.apply)
