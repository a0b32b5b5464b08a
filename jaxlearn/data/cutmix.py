"""CutMix: a rectangle of another picture in every picture of the batch.

Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019, arXiv 1905.04899.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn.core import keys


def cutmix(
    batch: dict[str, Any], key: jax.Array, *, beta: float = 1.0, probability: float = 0.5
) -> dict[str, Any]:
    """Mix every picture of a batch with another one of it, or none (algorithm 1).

    With the given probability, once for the batch: lambda ~ Beta(beta, beta); a rectangle of height
    `H sqrt(1 - lambda)` and width `W sqrt(1 - lambda)` around a uniform pixel, cut off at the
    border, comes from the partner, and lambda becomes the share of pixels that stay.

    The place is the same on every device; partners are drawn among each device's own examples.

    Args:
        batch: `"inputs"` [B, H, W, C], `"labels"`, `"index"`.
        key: of the step.
        beta: of the Beta distribution.
        probability: of mixing at all.

    Returns:
        The batch with the pictures mixed, `"mix"` float32 [B], lambda, and `"partner"`, the labels
        and index of the other pictures.

    Raises:
        ValueError: when beta is not above 0, or the probability not in [0, 1].

    Example:
        >>> batch = {"inputs": jnp.ones((2, 4, 4, 1)), "labels": jnp.arange(2)}
        >>> mixed = cutmix(batch | {"index": jnp.arange(2)}, jax.random.key(0), probability=0.0)
        >>> mixed["mix"].tolist()
        [1.0, 1.0]
    """
    if beta <= 0 or not 0 <= probability <= 1:
        raise ValueError(
            f"beta has to be above 0 and probability in [0, 1]: found {beta}, {probability}"
        )
    share_key, place_key, whether_key, order_key = jax.random.split(key, 4)
    inputs = jnp.asarray(batch["inputs"])
    size, height, width, _ = inputs.shape
    share = 1 - jax.random.beta(share_key, beta, beta)
    share = jnp.where(jax.random.bernoulli(whether_key, probability), share, 0.0)
    inside = _rectangle(place_key, height, width, jnp.sqrt(share))
    order = jax.random.permutation(keys.for_examples(order_key, batch), size)
    mixed = jnp.where(inside[None, ..., None], inputs[order], inputs)
    kept = 1 - inside.mean(dtype=jnp.float32)
    partner = {name: jnp.asarray(batch[name])[order] for name in ("labels", "index")}
    return batch | {"inputs": mixed, "mix": jnp.full(size, kept), "partner": partner}


def _rectangle(key: jax.Array, height: int, width: int, side: jax.Array) -> jax.Array:
    """bool `[height, width]`: where a rectangle of so large a part of each side covers a pixel."""
    sizes = jnp.array([height, width])
    half = (sizes * side).astype(jnp.int32) / 2
    centre = jax.random.randint(key, (2,), 0, sizes)
    low, high = jnp.floor(centre - half), jnp.floor(centre + half)
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
    return (y >= low[0]) & (y < high[0]) & (x >= low[1]) & (x < high[1])
