"""Masks chosen once, from the weights that training starts with: SNIP, GraSP, SynFlow, magnitude.

The static baselines of Liu et al., NeurIPS 2021. The scores are in `sparsity.scores` and
`sparsity.synflow`.
"""

from typing import Any

import jax
import optax

from jaxlearn.core import Params
from jaxlearn.transforms.sparsity.distributions import Distribution, named
from jaxlearn.transforms.sparsity.initial import dense
from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.prunable import Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.scores import Score, magnitude, random
from jaxlearn.transforms.sparsity.sparse import sparse
from jaxlearn.transforms.sparsity.synflow import keep_iteratively


def prune_at_init(
    optimizer: optax.GradientTransformation,
    score: Score,
    *,
    density: float,
    share: str | Distribution = "global",
    rounds: int = 1,
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Keep the `floor(density * N)` weights with the largest scores at initialisation, for good.

    `init` computes the scores of the parameters it is given and masks them; nothing is drawn or
    looked at later. Mask the parameters before the first forward pass, see `mask_params`.

    =====================================  =================================  =============
    method                                 score                              share, rounds
    =====================================  =================================  =============
    SNIP (Lee et al., ICLR 2019)           `snip(gradient_of(rule, batch))`   global, 1
    GraSP (Wang et al., ICLR 2020)         `grasp(gradient_of(rule, batch))`  global, 1
    SynFlow (Tanaka et al., NeurIPS 2020)  `synflow(model, x)`                global, 100
    =====================================  =================================  =============

    Args:
        optimizer: what trains the weights that are kept.
        score: a number per weight, see `sparsity.scores`.
        density: share of the prunable weights that is kept.
        share: `"global"`, or a distribution that says how much each leaf keeps.
        rounds: above 1, prune in so many rounds with the scores taken anew (`keep_iteratively`).
        prunable: which leaves have masks.

    Raises:
        ValueError: when a number is out of range, the distribution unknown, or rounds are asked for
            with a distribution.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxlearn.transforms.sparsity import masks
        >>> tx = prune_at_init(optax.sgd(0.1), magnitude, density=0.5)
        >>> masks(tx.init({"w": jnp.array([[3.0, -4.0, 1.0, 2.0]])}))["w"]
        Array([[ True,  True, False, False]], dtype=bool)
    """
    if not 0 < density <= 1 or rounds < 1:
        raise ValueError(
            "density must be above 0 and at most 1 and rounds at least 1, found "
            f"{density} and {rounds}"
        )
    if share != "global":
        named(share)
        if rounds > 1:
            raise ValueError("rounds compare the scores of all leaves: use share='global'")
    trained = sparse(optimizer, initial=dense, prunable=prunable)

    def init(params: Params) -> Any:
        if rounds > 1:
            masks = keep_iteratively(score, params, density, rounds=rounds, prunable=prunable)
        else:
            masks = keep(score(params), density, share, prunable=prunable)
        state: Any = trained.init(params)
        return state._replace(masks=masks)

    transform: Any = optax.GradientTransformationExtraArgs
    return transform(init, trained.update)


def examples() -> dict[str, optax.GradientTransformation]:
    """By magnitude and at random, layer by layer; the other scores belong to a network."""
    tx = lambda score: prune_at_init(optax.sgd(0.02, 0.9), score, density=0.4, share="erk")
    return {"magnitude-at-init": tx(magnitude), "random-at-init": tx(random(jax.random.key(0)))}
