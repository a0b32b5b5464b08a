"""QResNet: the CIFAR ResNet whose block convolutions are quadratic.

Fan et al., "On Expressivity and Trainability of Quadratic Networks", arXiv 2110.06081. Stem and
classifier stay ordinary, shortcuts are option A.
"""

from collections.abc import Sequence

import jax
from flax import linen

from jaxlearn.core import Model, stack
from jaxlearn.models.cifar_resnet import WIDTHS, classifier
from jaxlearn.models.layers.quadratic import QuadraticConv
from jaxlearn.models.option_a_resnet import RESNET20, option_a_resnet


def quadratic_resnet(
    blocks: Sequence[int] = RESNET20,
    widths: Sequence[int] = WIDTHS,
    *,
    form: str = "full",
    start: str = "relinear",
    active: bool = True,
    recompute: bool = False,
    rezero: bool = False,
    sync: bool = False,
) -> list[Model]:
    """The layers of a QResNet-(6n + 2) without the classifier.

    With `start="relinear"` it computes what `option_a_resnet` does with the weights `kernel_r` and
    biases `bias_r`; every convolution has a bias in each branch, which the batch normalisation
    after it cancels at the start. The compact network of the paper is `form="compact"`, with two
    thirds of the parameters.

    Args:
        blocks: basic blocks of each stage.
        widths: channels of each stage.
        form: of the neurons, see `jaxlearn.models.layers.quadratic.quadratic`; `"squared"` squares
            the outputs of the convolutions, whose normalisation and ReLU follow as in all forms.
        start: `"relinear"` or `"random"`.
        active: False leaves the quadratic branches out while they are constant, at the cost of the
            conventional network; the parameters are the same tree.
        recompute: compute r and g again in the backward pass instead of keeping them.
        rezero: the factor of each residual branch starts at 0.
        sync: batch statistics over all devices.

    Example:
        >>> layers = quadratic_resnet((1, 1, 1), form="compact")
        >>> len(layers)
        4
    """

    def convolution(channels: int, stride: int, name: str) -> linen.Module:
        return QuadraticConv(channels, 3, stride, form, start, active, recompute, name=name)

    return option_a_resnet(blocks, widths, convolution=convolution, rezero=rezero, sync=sync)


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """One block in each of two stages, full and recomputed, at toy size."""
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 2))
    layers = quadratic_resnet((1, 1), (4, 6), start="random", recompute=True)
    return {"quadratic-resnet": (stack([*layers, classifier(3)]), x)}
