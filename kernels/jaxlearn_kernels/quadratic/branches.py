"""The parameters of a layer of quadratic neurons, shared by every implementation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Branch(NamedTuple):
    """One of the products of a layer: ``a W + bias``.

    Attributes:
      kernel: W, ``[inputs, outputs]``.
      bias: ``[outputs]``.
    """

    kernel: jax.Array
    bias: jax.Array


class Branches(NamedTuple):
    """The products of a layer; r is always there.

    Attributes:
      r: of x.
      g: of x, the factor of r.
      b: of the squared x, the term beside.
    """

    r: Branch
    g: Branch | None = None
    b: Branch | None = None


def compute_dtype(dtype) -> jnp.dtype:
    """The type of sums of products: float32, or float64 for float64.

    >>> compute_dtype(jnp.bfloat16).name
    'float32'
    """
    return jnp.promote_types(dtype, jnp.float32)


def there(branches: Branches) -> tuple[bool, bool]:
    """Whether there is a branch g, and a branch b."""
    return branches.g is not None, branches.b is not None


def unpacked(leaves: Sequence[Any], given: tuple[bool, bool]) -> tuple[Branches, Sequence[Any]]:
    """The leaves of :class:`Branches` put in their places again, and the leaves that follow.

    Args:
      leaves: in order, those of a branch that is not there left out.
      given: what :func:`there` said.

    >>> found, rest = unpacked(["W_r", "b_r", "W_b", "c", "more"], (False, True))
    >>> found.b, found.g, rest
    (Branch(kernel='W_b', bias='c'), None, ['more'])
    """
    whole, leaves = Branches(Branch(*leaves[:2])), leaves[2:]
    for name, is_there in zip("gb", given, strict=True):
        if is_there:
            whole, leaves = whole._replace(**{name: Branch(*leaves[:2])}), leaves[2:]
    return whole, leaves
