"""The two heads of PredSim (Nøkland & Eidnes, ICML 2019, "Training neural networks with local
error signals"), as the comparisons of AugLocal set them up.
"""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.heads.branches import branches
from jaxlearn.models.layers.linear import linear


class SimilarityHead(linen.Module):
    """A linear map of its own width whose outputs are compared between examples: conv3x3, C -> C.

    Neither bias nor activation. Features without a map, `[batch, C]`, get a dense layer.
    """

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, C]`."""
        width = x.shape[-1]
        return conv(width, 3)(x) if x.ndim == 4 else linear(width, width, bias=False)(x)


class PooledClassifier(linen.Module):
    """Average pooling to at most `features` numbers, and a linear layer.

    Attributes:
        classes: number of logits.
        features: what the pooled map may have at most; see `pool_window`.
    """

    classes: int
    features: int = 512

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` or `[batch, C]` to `[batch, classes]`."""
        if x.ndim == 4:
            side, width = x.shape[1], x.shape[-1]
            window = pool_window(side, width, self.features)
            pad = [(k * (-(-side // k) - side // k)) // 2 for k in window]
            x = linen.avg_pool(x, window, window, [(p, p) for p in pad])
            x = x.reshape(x.shape[0], -1)
        return linear(x.shape[-1], self.classes)(x)


def pool_window(side: int, width: int, features: int = 512) -> tuple[int, int]:
    """Height and width of the pooling window for a square map.

    They are doubled in turn, the height first, until the pooled map of `width` channels has no
    more than `features` numbers or the height spans the map. So the pooled map need not be square.

    Example:
        >>> pool_window(32, 16), pool_window(16, 32), pool_window(8, 64)
        ((8, 4), (4, 4), (4, 2))
    """
    window, turn = [1, 1], 0
    left = lambda: width * -(-side // window[0]) * -(-side // window[1])
    while left() > features and (turn == 1 or window[0] < side):
        window[turn] *= 2
        turn = 1 - turn
    return window[0], window[1]


def predsim_head(classes: int, *, features: int = 512) -> Model:
    """`h -> {"similarity": conv3x3(h), "logits": linear(pool(h))}`, for `predsim_loss`."""
    return branches(
        {
            "similarity": from_linen(SimilarityHead()),
            "logits": from_linen(PooledClassifier(classes, features)),
        }
    )
