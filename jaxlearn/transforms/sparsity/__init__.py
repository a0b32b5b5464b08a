"""One mask engine for all sparse training: what is masked, how much, when, and what is chosen.

A method is an initial mask (`initial`), an event that chooses new masks (`prune`, `regenerate`) and
the steps at which it happens (`schedules`), put around any optimizer by `sparse`. Masks are chosen
by `scores`, shared between layers by `distributions` and counted out by `keep`; `structured` has
patterns, and `packed` stores them.
"""

from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.packed import pack, unpack
from jaxlearn.transforms.sparsity.prunable import (
    Masks,
    Prunable,
    check_zeros,
    density,
    except_for,
    matrices_and_filters,
)
from jaxlearn.transforms.sparsity.regenerate import regenerate
from jaxlearn.transforms.sparsity.select import largest
from jaxlearn.transforms.sparsity.sparse import Event, Moment, Staged, sparse
from jaxlearn.transforms.sparsity.state import SparseState, mask_params, masks, seed_axes
from jaxlearn.transforms.sparsity.surgery import mask_slots

__all__ = [
    "Event",
    "Masks",
    "Moment",
    "Prunable",
    "SparseState",
    "Staged",
    "check_zeros",
    "density",
    "except_for",
    "keep",
    "largest",
    "mask_params",
    "mask_slots",
    "masks",
    "matrices_and_filters",
    "pack",
    "regenerate",
    "seed_axes",
    "sparse",
    "unpack",
]
