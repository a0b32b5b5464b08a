"""Low-rank updates of a pruned weight, and how each is merged into it: PERP.

Zimmer, Andoni, Spiegel and Pokutta, "PERP: Rethinking the Prune-Retrain Paradigm in the Era of
LLMs", arXiv 2312.15230. With `W` pruned, `M = [W != 0]` and `s = alpha / r`, while training and
after the merge the layer computes with

============  =================  ========================================================
form          while training     merged
============  =================  ========================================================
`lora`        `W + s A B`        the same: dense, the zeros of W are gone
`lora_prune`  `W + s A B`        `W + s (A B) * M`: another function than the trained one
`mask_lora`   `W + s (A B) * M`  the same
`scale_lora`  `W * (A B)`        the same
============  =================  ========================================================

A kernel is `[inputs, outputs]` here, so `A [inputs, r]` and `B [r, outputs]` are the transposed
matrices of the paper, whose weights are `[outputs, inputs]`.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, PyTree, trees

Form = Literal["lora", "lora_prune", "mask_lora", "scale_lora"]
FORMS: tuple[Form, ...] = get_args(Form)
Pair = dict[str, jax.Array]


def factors(form: Form, key: Key, weight: jax.Array, rank: int) -> Pair:
    """`A [inputs, r]` and `B [r, outputs]` at which the layer computes what it did before.

    `A` is uniform in `+-1 / sqrt(inputs)` and `B` zero, as in PEFT; for `scale_lora` both are
    `1 / sqrt(r)`, so that `A B = 1`. A filter `[h, w, in, out]` counts as a matrix of
    `h w in` inputs. Factors are float32 at least, whatever the weight is.
    """
    dtype = jnp.promote_types(weight.dtype, jnp.float32)
    outputs = weight.shape[-1]
    inputs = weight.size // outputs
    if form == "scale_lora":
        fill = lambda shape: jnp.full(shape, 1 / math.sqrt(rank), dtype)
        return {"a": fill((inputs, rank)), "b": fill((rank, outputs))}
    bound = 1 / math.sqrt(inputs)
    a = jax.random.uniform(key, (inputs, rank), dtype, -bound, bound)
    return {"a": a, "b": jnp.zeros((rank, outputs), dtype)}


def effective(form: Form, weight: jax.Array, pair: Pair, scale: float) -> jax.Array:
    """The weight that training computes with: the middle column of the table above."""
    if form == "scale_lora":
        return weight * _product(pair, 1.0, weight)
    update = _product(pair, scale, weight)
    return weight + (_masked(update, weight) if form == "mask_lora" else update)


def merged(form: Form, weight: jax.Array, pair: Pair, scale: float) -> jax.Array:
    """The weight that replaces `weight`: the last column of the table above."""
    return effective("mask_lora" if form == "lora_prune" else form, weight, pair, scale)


def _product(pair: Pair, scale: float, like: jax.Array) -> jax.Array:
    a = pair["a"] if scale == 1.0 else scale * pair["a"]
    return (a @ pair["b"]).reshape(like.shape).astype(like.dtype)


def _masked(update: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.where(weight != 0, update, jnp.zeros_like(update))


def sparse_lora(
    form: Form,
    rank: int,
    alpha: float | None = None,
    *,
    adapted: Callable[[str], bool] = lambda path: True,
) -> Parametrization:
    """Freeze all parameters and train one of the forms above on the matrices and filters.

    Args:
        form: one of `FORMS`.
        rank: `r`.
        alpha: `s = alpha / r`; `r` by default, which makes s 1. `scale_lora` has no s.
        adapted: which paths get an update; leaves with fewer than two axes never do.

    Raises:
        ValueError: for another form, `rank < 1`, or when no leaf is adapted.

    Example:
        >>> pruned = {"kernel": jnp.array([[0.0, 1.0], [2.0, 0.0]])}
        >>> masked = sparse_lora("mask_lora", 1)
        >>> theta, frozen = jax.jit(masked.init)(jax.random.key(0), pruned)
        >>> theta["kernel"]["b"] = jnp.ones((1, 2))
        >>> (masked.materialize(theta, frozen)["kernel"] != 0).tolist()
        [[False, True], [True, False]]
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r} is none of {FORMS}")
    if rank < 1:
        raise ValueError(f"rank must be at least 1, found {rank}")
    scale = 1.0 if alpha is None else alpha / rank

    def init(key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        theta = {}
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            if leaf.ndim >= 2 and adapted(trees.path(keys)):
                theta[trees.path(keys)] = factors(form, jax.random.fold_in(key, i), leaf, rank)
        if not theta:
            raise ValueError(f"{form} adapts no parameter: none has two axes and is adapted")
        return theta, params

    def materialize(theta: PyTree, frozen: PyTree) -> PyTree:
        def adapt(keys, leaf: jax.Array) -> jax.Array:
            pair = theta.get(trees.path(keys))
            return leaf if pair is None else effective(form, leaf, pair, scale)

        return jax.tree.map_with_path(adapt, frozen)

    return Parametrization(init, materialize)


def examples() -> dict[str, Parametrization]:
    """Every form that plain LoRA is not, at rank 4."""
    return {form.replace("_", "-"): sparse_lora(form, 4) for form in FORMS if form != "lora"}
