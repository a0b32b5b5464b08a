"""Masks at one bit per weight, a thirty-second of the weights, for storage and transfer."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import PyTree
from jaxlearn.transforms.sparsity.prunable import Masks


@jax.tree_util.register_static
class Shapes(tuple):
    """Shapes of masks, part of a tree's structure and not of its leaves."""


class Packed(NamedTuple):
    """Packed masks.

    Attributes:
        bits: a tree like the masks, uint8 `[ceil(size / 8)]` in place of each.
        shapes: the shape of each, in the order of the tree.
    """

    bits: PyTree
    shapes: Shapes


def pack(masks: Masks) -> Packed:
    """Eight entries to a byte, the first one in the highest bit; leaves without a mask stay `None`.

    Example:
        >>> pack({"b": None, "w": jnp.array([True, False, True])}).bits
        {'b': None, 'w': Array([160], dtype=uint8)}
    """
    shapes = Shapes(jnp.shape(mask) for mask in jax.tree.leaves(masks))
    return Packed(jax.tree.map(jnp.packbits, masks), shapes)


def unpack(packed: Packed) -> Masks:
    """The masks that were packed.

    Example:
        >>> unpack(pack({"w": jnp.array([[True, False, True]])}))["w"]
        Array([[ True, False,  True]], dtype=bool)
    """
    bits, structure = jax.tree.flatten(packed.bits)

    def one(part: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.unpackbits(part, count=math.prod(shape)).astype(bool).reshape(shape)

    return structure.unflatten([one(*pair) for pair in zip(bits, packed.shapes, strict=True)])
