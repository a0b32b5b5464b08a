"""Optax gradient transformations, one method per file, and learning-rate schedules.

Sparse training wraps an optimizer, because masks have to act on weights and momentum after the
update: `granet(optax.adam(1e-3), ...)` is itself a transformation.
"""

from jaxlearn.transforms.gmp import gmp
from jaxlearn.transforms.gradient_noise import gradient_noise, noisy
from jaxlearn.transforms.granet import granet
from jaxlearn.transforms.prune_at_init import prune_at_init
from jaxlearn.transforms.relinear import penalize_quadratic, shrink_gradients, shrink_weights
from jaxlearn.transforms.rigl import rigl, rigl_itop
from jaxlearn.transforms.set import sparse_evolutionary
from jaxlearn.transforms.static_sparse import static_sparse

__all__ = [
    "gmp",
    "gradient_noise",
    "granet",
    "noisy",
    "penalize_quadratic",
    "prune_at_init",
    "rigl",
    "rigl_itop",
    "shrink_gradients",
    "shrink_weights",
    "sparse_evolutionary",
    "static_sparse",
]
