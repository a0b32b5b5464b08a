"""Set the slots of any optax optimizer to zero where weights are not active."""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import Params, PyTree
from jaxlearn.transforms.sparsity.prunable import Masks


def mask_slots(opt_state: PyTree, params: Params, keep: Masks) -> PyTree:
    """Zero momentum, second moments and every other slot where `keep` is false.

    A slot is any part of the optimizer's state that has the structure of the parameters, at any
    depth: `chain`, `inject_hyperparams`, `partition` and wrappers are searched through. Leaves of
    another shape than their parameter (counters, factored moments) and leaves that a `partition`
    gives to someone else pass unchanged.

    Example:
        >>> params = {"w": jnp.ones(2)}
        >>> state = optax.trace(0.9).update(params, optax.trace(0.9).init(params))[1]
        >>> mask_slots(state, params, {"w": jnp.array([True, False])}).trace["w"]
        Array([1., 0.], dtype=float32)
    """

    def is_slot(part: PyTree) -> bool:
        leaves, structure = jax.tree.flatten(part, is_leaf=_elsewhere)
        try:
            beside = structure.flatten_up_to(params)
        except (ValueError, TypeError):
            return False
        pairs = zip(leaves, beside, strict=True)
        return all(
            _elsewhere(leaf) or jax.tree_util.treedef_is_leaf(jax.tree.structure(param))
            for leaf, param in pairs
        )

    def clean(part: PyTree) -> PyTree:
        return jax.tree.map(_zero, part, keep, is_leaf=_elsewhere) if is_slot(part) else part

    return jax.tree.map(clean, opt_state, is_leaf=is_slot)


def _elsewhere(part: PyTree) -> bool:
    return isinstance(part, optax.MaskedNode)


def _zero(slot: PyTree, keep: jax.Array | None) -> PyTree:
    if keep is None or _elsewhere(slot) or jnp.shape(slot) != jnp.shape(keep):
        return slot
    return jnp.where(keep, slot, 0)
