"""SparseGPT: prune input by input and let the later inputs make up for it.

Frantar and Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
ICML 2023, Algorithm 1.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Key
from jaxlearn.procedures.pruning.choices import Choice
from jaxlearn.procedures.pruning.inputs import Inputs
from jaxlearn.procedures.pruning.prune import Pruner


def sparsegpt(
    choice: Choice, *, block: int = 128, group: int | None = None, damping: float = 0.01
) -> Pruner:
    """Optimal brain surgeon with a fixed order of the inputs.

    With `H = (2 / sequences) X^T X`, its diagonal raised by `damping` times its mean, and the
    upper Cholesky factor `U` of `H^-1`: the inputs `i` are taken in order. The mask of the next
    `group` inputs is chosen by the scores `w_ij^2 / U_ii^2` of the weights as they are by then;
    what is dropped from row i, `e = (w_i - kept_i) / U_ii`, is taken out of the later rows `l` as
    `w_l <- w_l - U_il e`. Inputs that are always 0 lose their weights.

    Args:
        choice: of the weights that stay, within a group.
        block: inputs whose errors reach the inputs behind them together; it only saves time.
        group: inputs whose mask is chosen together: `block` by default, m for an n:m choice.
        damping: as said.

    Raises:
        ValueError: when `group` does not divide `block`, or the damping is negative; at the call,
            when the layer's inputs are missing.
    """
    group = block if group is None else group
    if block < 1 or group < 1 or block % group or damping < 0:
        raise ValueError(
            f"block={block}, group={group}, damping={damping}; group has to divide block, and "
            "damping to be at least 0"
        )

    def pruned(weight: jax.Array, inputs: Inputs | None, key: Key) -> jax.Array:
        if inputs is None:
            raise ValueError("sparsegpt needs the inputs of the layer; see linear_inputs")
        w, upper = _prepared(weight.astype(jnp.float32), inputs, damping)
        done = []
        for start in range(0, len(w), block):
            stop = min(start + block, len(w))
            here = upper[start:stop, start:stop]
            kept, errors = _one_block(w[start:stop], here, choice, min(group, stop - start))
            w = w.at[stop:].add(-upper[start:stop, stop:].T @ errors)
            done.append(kept)
        return jnp.concatenate(done).astype(weight.dtype)

    return Pruner(pruned, looks=True)


def _prepared(w: jax.Array, inputs: Inputs, damping: float) -> tuple[jax.Array, jax.Array]:
    """The weights without those of dead inputs, and `U`."""
    hessian = 2 / inputs.sequences * inputs.gram
    diagonal = jnp.diagonal(hessian)
    dead = diagonal == 0
    hessian = hessian + jnp.diag(dead.astype(hessian.dtype))
    damp = damping * jnp.mean(jnp.diagonal(hessian))
    eye = jnp.eye(len(hessian), dtype=hessian.dtype)
    factor = jax.scipy.linalg.cho_factor(hessian + damp * eye, lower=True)
    inverse = jax.scipy.linalg.cho_solve(factor, eye)
    return jnp.where(dead[:, None], 0, w), jnp.linalg.cholesky(inverse).T


def _one_block(
    w: jax.Array, upper: jax.Array, choice: Choice, group: int
) -> tuple[jax.Array, jax.Array]:
    """The kept rows of a block `[rows, outputs]`, and the errors to take out of later ones."""
    diagonal = jnp.diagonal(upper)[:, None]

    def choose(i: jax.Array, w: jax.Array, keep: jax.Array) -> jax.Array:
        scores = lax.dynamic_slice_in_dim((w / diagonal) ** 2, i, group)
        return lax.dynamic_update_slice_in_dim(keep, choice(scores), i, 0)

    def row(i: jax.Array, carry):
        w, keep, kept, errors = carry
        keep = lax.cond(i % group == 0, lambda: choose(i, w, keep), lambda: keep)
        own = jnp.where(keep[i], w[i], 0)
        error = (w[i] - own) / upper[i, i]
        # U is upper triangular, so rows before i stay as they are
        w = w - upper[i][:, None] * error
        return w, keep, kept.at[i].set(own), errors.at[i].set(error)

    start = (w, jnp.zeros(w.shape, bool), jnp.zeros_like(w), jnp.zeros_like(w))
    _, _, kept, errors = lax.fori_loop(0, len(w), row, start)
    return kept, errors
