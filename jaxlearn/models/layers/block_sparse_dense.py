"""A dense layer that skips the blocks of its kernel in which all weights are zero."""

import jax
from flax import linen
from jaxlearn_kernels.block_sparse import block_mask, block_sparse_matmul


class BlockSparseDense(linen.Module):
    """`y = x W + b`, where a block of W that is zero throughout takes no time.

    Which blocks are zero is read from W at every call, so any mask serves: one that a transform
    of `jaxlearn.transforms` holds, or weights that were pruned and stored. Blocks that are zero
    get no gradient: what grows weights back by their gradients (RigL, GraNet) sees none there,
    and has nothing to choose. Prune (GMP), or keep a fixed mask, with whole blocks of it empty.

    Attributes:
        features: outputs, a multiple of `block[1]`.
        block: inputs and outputs of a block; multiples of 128 use the kernels on TPU, of 16 on GPU.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = BlockSparseDense(4, block=(2, 2))
        >>> params = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 2)))
        >>> params["params"]["kernel"] = jnp.array([[1.0, 2.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
        >>> jax.jit(layer.apply)(params, jnp.ones((1, 2))).tolist()
        [[1.0, 3.0, 0.0, 0.0]]
    """

    features: int
    block: tuple[int, int] = (128, 128)

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., inputs]` to `[..., features]`.

        Raises:
            ValueError: the blocks do not divide the kernel.
        """
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", linen.initializers.lecun_normal(), shape)
        bias = self.param("bias", linen.initializers.zeros, shape[-1:])
        there = block_mask(jax.lax.stop_gradient(kernel), self.block)
        return block_sparse_matmul(x, kernel, there) + bias
