"""SynFlow: masks at initialisation without data.

Tanaka, Kunin, Yamins & Ganguli, "Pruning neural networks without any data by iteratively conserving
synaptic flow", NeurIPS 2020, arXiv 2006.05467.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Model, Params, PyTree
from jaxlearn.transforms.sparsity import prunable as leaves
from jaxlearn.transforms.sparsity.distributions import budget
from jaxlearn.transforms.sparsity.prunable import Masks, Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.scores import Score
from jaxlearn.transforms.sparsity.select import largest


def synflow(model: Model, x: PyTree) -> Score:
    """`|w| dR/d|w|` with `R = 1^T f(1; |w|)`, the flow through the weight (eq. 2).

    `f` is the network with all parameters replaced by their absolute values, in evaluation mode, on
    an input of ones. For layers that are homogeneous in their weights and have no biases the scores
    of every layer add up to R, and at every hidden unit the scores of the weights into it add up to
    those of the weights out of it (Theorems 1 and 2).

    R grows by a factor with every layer, to 10^72 in a ResNet-50, so it is computed in double
    precision. Scores that single precision cannot hold are divided by the largest of all, which
    changes no choice.

    Args:
        model: the network.
        x: inputs, of which shapes and dtypes matter; one example is enough.

    Raises:
        FloatingPointError: when a score is not finite; out of `jit` as the runtime's own error.
    """

    def score(params: Params) -> PyTree:
        with jax.enable_x64(True):
            ones = jax.tree.map(lambda leaf: _double(jnp.ones((1, *leaf.shape[1:]), leaf.dtype)), x)
            state = model.init(jax.random.key(0), ones)[1]
            size = jax.tree.map(lambda leaf: _double(jnp.abs(leaf)), params)
            flow = lambda params: jnp.sum(model.apply(params, state, ones)[0])
            found = jax.tree.map(jnp.multiply, size, jax.grad(flow)(size))
            top = jnp.max(jnp.stack([jnp.max(leaf) for leaf in jax.tree.leaves(found)]))
            jax.debug.callback(_check, jnp.isfinite(top))
            scale = jnp.where(top > LARGEST, 1 / top, 1.0)
            return jax.tree.map(lambda leaf: (leaf * scale).astype(jnp.float32), found)

    return score


LARGEST = 1e30
"""The largest score that is left as it is, so that sums of them fit single precision too."""


def _double(leaf: jax.Array) -> jax.Array:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(jnp.float64) if floating else leaf


def _check(finite: jax.Array) -> None:
    if not finite:
        raise FloatingPointError(
            "SynFlow's scores are not finite: a weight is not, or this device has no doubles"
        )


def keep_iteratively(
    score: Score,
    params: Params,
    density: float,
    *,
    rounds: int = 100,
    prunable: Prunable = matrices_and_filters,
) -> Masks:
    """Prune in rounds, the scores taken anew from the masked weights (Algorithm 1).

    Round k of n keeps the `floor(N density^(k/n))` largest scores of what is left, over all leaves
    together. With one round it is `keep`. In many rounds SynFlow cuts no layer off as long as one
    path is affordable (Theorem 3).

    Args:
        score: of the weights that are left, such as `synflow`.
        params: the weights.
        density: at the end.
        rounds: the paper uses 100.
        prunable: which leaves have masks.

    Raises:
        ValueError: for a number out of range.
    """
    if not 0 < density <= 1 or rounds < 1:
        raise ValueError(
            "density must be above 0 and at most 1 and rounds at least 1, found "
            f"{density} and {rounds}"
        )
    dense = [
        jnp.ones(leaf.shape, bool) for leaf in leaves.prunable_leaves(params, prunable).values()
    ]
    total = sum(mask.size for mask in dense)
    ks = jnp.asarray([budget(total, density ** (k / rounds)) for k in range(1, rounds + 1)])

    def round_(k: jax.Array, masks: Masks) -> Masks:
        scores = leaves.beside(score(leaves.apply(masks, params)), masks)
        return leaves.as_tree(params, prunable, largest(scores, ks[k], jax.tree.leaves(masks)))

    return lax.fori_loop(0, rounds, round_, leaves.as_tree(params, prunable, dense))
