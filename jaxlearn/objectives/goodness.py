"""Goodness of a layer's activity, and the forward-forward loss on it.

Hinton, "The forward-forward algorithm: some preliminary investigations", 2022 (arXiv 2212.13345),
section 2: a layer learns to be active on real ("positive") data and quiet on made-up ("negative")
data.
"""

import jax
import jax.numpy as jnp


def goodness(h: jax.Array, *, mean: bool = False) -> jax.Array:
    """The squared length of every row, `g_i = sum over j of h_ij^2`: `[B, ...] -> [B]`.

    With `mean` the squares are averaged instead of added up, so that layers of different widths
    can be compared.

    Example:
        >>> goodness(jnp.array([[3.0, 4.0], [1.0, 1.0]])).tolist()
        [25.0, 2.0]
    """
    reduce = jnp.mean if mean else jnp.sum
    return reduce(jnp.square(h), axis=tuple(range(1, jnp.ndim(h))))


def forward_forward_loss(
    positive: jax.Array, negative: jax.Array, theta: float | jax.Array
) -> jax.Array:
    """Binary cross-entropy of goodness against a threshold, one number per example.

    `l_i = -log sigmoid(p_i - theta) - mean over k of log sigmoid(theta - n_ki)`: the probability
    that example i is real is `sigmoid(goodness - theta)`, and each kind of negative counts equally.
    The loss of a batch is the mean, `weighted_mean(l, batch)`.

    Args:
        positive: goodness of the positive examples, `[B]`.
        negative: goodness of their negatives, `[B]`, or `[K, B]` for K negatives of each.
        theta: the threshold.

    Raises:
        ValueError: when the last axes differ.

    Example:
        >>> zero = jnp.zeros(1)
        >>> forward_forward_loss(zero, zero, 2.0).round(4).tolist()  # log(1 + e^2) + log(1 + e^-2)
        [2.2539000511169434]
    """
    if jnp.ndim(positive) != 1 or jnp.shape(negative)[-1:] != jnp.shape(positive):
        raise ValueError(
            "expected goodness [B] of positives and [B] or [K, B] of negatives, found "
            f"{list(jnp.shape(positive))} and {list(jnp.shape(negative))}"
        )
    real = jax.nn.softplus(theta - positive)
    made_up = jax.nn.softplus(negative - theta)
    return real + made_up.reshape(-1, *positive.shape).mean(0)
