"""What is trained again after pruning: subsets of the parameters and their unions, PERP.

Zimmer et al., arXiv 2312.15230. A pruned network loses accuracy mostly because its features are
distorted, so that a few parameters which can shift and scale them are enough to get it back.
"""

from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, Params, PyTree, trees
from jaxlearn.parametrizations.sparse_lora import FORMS, Form, effective, factors, merged

Subset = Literal[
    "biases", "norms", "head", "head_lora", "lora", "lora_prune", "mask_lora", "scale_lora", "full"
]
SUBSETS: tuple[Subset, ...] = get_args(Subset)


class Roles(NamedTuple):
    """Which path of the parameters plays which part; a path may play several.

    Attributes:
        pruned: weights that have been pruned and keep their zeros.
        bias: biases, those of the norms included.
        norm: scale and shift of the norms.
        head: the layer that makes logits.
    """

    pruned: Callable[[str], bool]
    bias: Callable[[str], bool] = lambda path: path.split("/")[-1] == "bias"
    norm: Callable[[str], bool] = lambda path: "norm" in path.lower()
    head: Callable[[str], bool] = lambda path: "head" in path.split("/")


class Retraining(NamedTuple):
    """A way to train a pruned network again.

    Attributes:
        parametrization: for `reparametrize`; its frozen part is the pruned network.
        merge: `(theta, frozen) -> params`, the network afterwards. It computes what was trained,
            but for `lora_prune`, and has the zeros of the pruned one, but for `lora`.
    """

    parametrization: Parametrization
    merge: Callable[[PyTree, PyTree], Params]


def retrain(
    subsets: Collection[Subset], roles: Roles, *, rank: int = 16, alpha: float = 32.0
) -> Retraining:
    """Train the union of some subsets of a pruned network's parameters.

    `biases`, `norms` and `head` are trained as they are; a leaf that belongs to two of them is one
    parameter, not two. `head_lora` is a plain low-rank update of the head's matrix, which is dense
    and may be merged. `lora`, `lora_prune`, `mask_lora` and `scale_lora` are the low-rank updates
    of `sparse_lora` on all pruned weights; a union has one of them at most. `full` is every
    parameter, with the zeros of the pruned weights kept: `W * M`. No subset at all trains nothing.

    What is trained is float32 at least; the network keeps its own dtypes.

    Args:
        subsets: some of `SUBSETS`.
        roles: which path is what.
        rank: r of the low-rank updates.
        alpha: their s is `alpha / r`.

    Raises:
        ValueError: for other subsets, two updates of the same weights, or `rank < 1`; at `init`,
            when the network has no parameter of a subset.

    Example:
        >>> pruned = {"kernel": jnp.array([[0.0, 2.0]]), "bias": jnp.zeros(2)}
        >>> ways = retrain(["biases", "mask_lora"], Roles(lambda path: path == "kernel"), rank=1)
        >>> theta, frozen = ways.parametrization.init(jax.random.key(0), pruned)
        >>> sorted(theta["leaves"]), sorted(theta["updates"]["kernel"])
        (['bias'], ['a', 'b'])
    """
    form = _form(subsets)
    if rank < 1:
        raise ValueError(f"rank must be at least 1, found {rank}")
    scale = alpha / rank

    def init(key: Key, params: Params) -> tuple[PyTree, PyTree]:
        leaves, updates, met = {}, {}, set()
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            path = trees.path(keys)
            parts = _parts(path, leaf, subsets, roles)
            met |= parts
            if found := parts & {*FORMS, "head_lora"}:
                (kind,) = found
                own = jax.random.fold_in(key, i)
                updates[path] = factors(_as_form(kind), own, leaf, rank)
            if parts & {"biases", "norms", "head", "full"}:
                leaves[path] = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        if absent := [name for name in subsets if name not in met]:
            raise ValueError(f"the network has no parameter of the subsets {absent}")
        return {"leaves": leaves, "updates": updates}, params

    def changed(update: Callable[..., jax.Array]) -> Callable[[PyTree, PyTree], Params]:
        def whole(theta: PyTree, frozen: PyTree) -> Params:
            def one(keys, old: jax.Array) -> jax.Array:
                path, weight = trees.path(keys), old
                if path in theta["leaves"]:
                    weight = theta["leaves"][path].astype(old.dtype)
                    weight = jnp.where(old != 0, weight, 0) if roles.pruned(path) else weight
                if path in theta["updates"]:
                    kind = "lora" if form is None or not roles.pruned(path) else form
                    weight = update(kind, weight, theta["updates"][path], scale)
                return weight

            return jax.tree.map_with_path(one, frozen)

        return whole

    return Retraining(Parametrization(init, changed(effective)), changed(merged))


def _parts(path: str, leaf: jax.Array, subsets: Collection[Subset], roles: Roles) -> set[str]:
    """The subsets that a leaf belongs to."""
    pruned, matrix = roles.pruned(path), leaf.ndim >= 2
    belongs = {
        "biases": roles.bias(path),
        "norms": roles.norm(path),
        "head": roles.head(path),
        "head_lora": roles.head(path) and matrix and not pruned,
        "full": True,
        **dict.fromkeys(FORMS, pruned and matrix),
    }
    return {name for name in subsets if belongs[name]}


def _as_form(name: str) -> Form:
    return next((form for form in FORMS if form == name), "lora")


def _form(subsets: Collection[Subset]) -> Form | None:
    """The one low-rank form of a union, if it has any."""
    if unknown := [name for name in subsets if name not in SUBSETS]:
        raise ValueError(f"subsets {unknown} are none of {SUBSETS}; for none at all pass ()")
    forms = [form for form in FORMS if form in subsets]
    if len(forms) > 1 or ("full" in subsets and len(subsets) > 1):
        raise ValueError(
            f"subsets {sorted(subsets)} train some weights twice; take one of {FORMS} or full"
        )
    if {"head", "head_lora"} <= {*subsets}:
        raise ValueError("subsets train the head twice; take head or head_lora")
    return forms[0] if forms else None


def examples() -> dict[str, Parametrization]:
    """A union, and all weights with their zeros."""
    roles = Roles(pruned=lambda path: path.endswith("kernel"))
    make = lambda *subsets: retrain(subsets, roles, rank=4, alpha=4.0).parametrization
    return {"retrain-biases-mask-lora": make("biases", "mask_lora"), "retrain-full": make("full")}
