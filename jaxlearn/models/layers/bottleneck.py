"""The residual block of three convolutions (He et al., CVPR 2016, section 4.1)."""

import jax
from flax import linen

from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import KAIMING


class Bottleneck(linen.Module):
    """`relu(BN(1x1) relu(BN(3x3)) relu(BN(1x1)) x + shortcut(x))`, stride in the 3 x 3.

    The shortcut is the identity, or `BN(conv1x1(x))` where the shape changes.

    Attributes:
        width: channels inside; `4 * width` come out.
        stride: 2 halves height and width.
        sync: statistics over all devices, see `BatchNorm`.
        kernel_init: of the convolutions.
    """

    width: int
    stride: int = 1
    sync: bool = False
    kernel_init: linen.initializers.Initializer = KAIMING

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, 4 * width]`."""
        out, init = 4 * self.width, self.kernel_init
        y = linen.relu(BatchNorm(self.sync)(conv(self.width, 1, init=init)(x), train))
        y = linen.relu(BatchNorm(self.sync)(conv(self.width, 3, self.stride, init)(y), train))
        y = BatchNorm(self.sync)(conv(out, 1, init=init)(y), train)
        if self.stride != 1 or x.shape[-1] != out:
            x = BatchNorm(self.sync)(conv(out, 1, self.stride, init)(x), train)
        return linen.relu(x + y)
