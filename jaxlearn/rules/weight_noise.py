"""Weight noise: every signal is taken at parameters with Gaussian noise added for this step alone.

An, "The effects of adding noise during backpropagation training on a generalization performance",
Neural Computation 1996; the baseline that gradient noise is compared with, which reaches the
parameters themselves only through the gradient.
"""

import jax

from jaxlearn.core import Batch, Key, PyTree, Rule, State, keys


def weight_noise(rule: Rule, sigma: float) -> Rule:
    """`signal(theta + sigma e)` with `e ~ N(0, I)` drawn anew at every step, applied to `theta`.

    The noise is the same on every device; predictions are made without it.

    Args:
        rule: any rule.
        sigma: standard deviation of the noise; 0 leaves the rule as it is.

    Raises:
        ValueError: when sigma is negative.

    Example:
        >>> import jax, optax
        >>> from jaxlearn.core import make_state, make_step, stack
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules.backprop import backprop
        >>> plain = backprop(stack([*tiny_blocks(), tiny_head()]), cross_entropy)
        >>> rule, tx = weight_noise(plain, 0.1), optax.sgd(0.1)
        >>> state = make_state(rule, tx, jax.random.key(0), tiny_batch())
        >>> state, metrics = make_step(rule, tx)(state, tiny_batch())
    """
    if sigma < 0:
        raise ValueError(f"sigma must not be negative, found {sigma}")

    def signal(params: PyTree, state: State, batch: Batch, key: Key):
        noise_key, key = jax.random.split(key)
        noise = keys.normal_like(noise_key, params)
        moved = jax.tree.map(lambda p, e: p + sigma * e, params, noise)
        return rule.signal(moved, state, batch, key)

    return Rule(rule.init, signal, rule.predict) if sigma else rule


def examples() -> dict[str, Rule]:
    """Backpropagation at weights with a little noise."""
    from jaxlearn.core import stack
    from jaxlearn.models.tiny import tiny_blocks, tiny_head
    from jaxlearn.objectives import cross_entropy
    from jaxlearn.rules.backprop import backprop

    return {
        "weight-noise": weight_noise(
            backprop(stack([*tiny_blocks(), tiny_head()]), cross_entropy), 0.02
        )
    }
