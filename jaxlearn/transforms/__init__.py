"""Optax gradient transformations, one method per file, and learning-rate schedules.

Sparse training wraps an optimizer, because masks have to act on weights and momentum after the
update: `granet(optax.adam(1e-3), ...)` is itself a transformation.
"""

from jaxlearn.transforms.gmp import gmp
from jaxlearn.transforms.granet import granet
from jaxlearn.transforms.rigl import rigl, rigl_itop
from jaxlearn.transforms.set import sparse_evolutionary
from jaxlearn.transforms.static_sparse import static_sparse

__all__ = ["gmp", "granet", "rigl", "rigl_itop", "sparse_evolutionary", "static_sparse"]
