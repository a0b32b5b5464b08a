"""Input preparation as part of a rule, so that it runs inside the compiled step."""

from collections.abc import Callable

import jax

from jaxlearn.core.contracts import Batch, Key, PyTree, Rule


def prepared(
    rule: Rule,
    prepare: Callable[[Batch], Batch],
    augment: Callable[[Batch, Key], Batch] | None = None,
) -> Rule:
    """Prepare every batch before the rule sees it.

    Args:
        rule: the rule to feed.
        prepare: `batch -> batch`, for training and prediction alike: scaling, normalisation.
        augment: `(batch, key) -> batch`, for training only and before `prepare`: crops, flips.
    """

    def init(key: Key, batch: Batch):
        return rule.init(key, prepare(batch))

    def signal(params: PyTree, state, batch: Batch, key: Key):
        if augment is not None:
            augment_key, key = jax.random.split(key)
            batch = augment(batch, augment_key)
        return rule.signal(params, state, prepare(batch), key)

    def predict(params: PyTree, state, batch: Batch):
        return rule.predict(params, state, prepare(batch))

    return Rule(init, signal, predict)
