"""The residual block of three convolutions (He et al., CVPR 2016, section 4.1), also in groups.

With groups it is the block of ResNeXt (Xie et al., CVPR 2017, figure 3c).
"""

import jax
from flax import linen

from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import KAIMING


class Bottleneck(linen.Module):
    """`relu(BN(1x1) relu(BN(3x3)) relu(BN(1x1)) x + shortcut(x))`, stride in the 3 x 3.

    The shortcut is the identity, or `BN(conv1x1(x))` where the shape changes.

    Attributes:
        width: channels inside, with one group of 64; `4 * width` come out in any case.
        stride: 2 halves height and width.
        sync: statistics over all devices, see `BatchNorm`.
        kernel_init: of the convolutions.
        groups: of the 3 x 3 convolution, the cardinality of ResNeXt.
        base: channels of a group where `width` is 64: there are `width * base // 64 * groups`
            inside. ResNeXt-101 32x8d has 32 groups and a base of 8.

    Example:
        >>> shapes = jax.eval_shape(
        ...     Bottleneck(64, groups=32, base=8).init,
        ...     jax.random.key(0),
        ...     jax.ShapeDtypeStruct((1, 8, 8, 256), "float32"),
        ... )
        >>> shapes["params"]["Conv_1"]["kernel"].shape
        (3, 3, 8, 256)
    """

    width: int
    stride: int = 1
    sync: bool = False
    kernel_init: linen.initializers.Initializer = KAIMING
    groups: int = 1
    base: int = 64

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, 4 * width]`."""
        out, init = 4 * self.width, self.kernel_init
        inside = self.width * self.base // 64 * self.groups
        y = linen.relu(BatchNorm(self.sync)(conv(inside, 1, init=init)(x), train))
        middle = conv(inside, 3, self.stride, init, self.groups)
        y = linen.relu(BatchNorm(self.sync)(middle(y), train))
        y = BatchNorm(self.sync)(conv(out, 1, init=init)(y), train)
        if self.stride != 1 or x.shape[-1] != out:
            x = BatchNorm(self.sync)(conv(out, 1, self.stride, init)(x), train)
        return linen.relu(x + y)
