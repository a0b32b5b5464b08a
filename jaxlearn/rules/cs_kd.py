"""CS-KD: two examples of one class are to be predicted alike.

Yun, Park, Lee, Shin, "Regularizing Class-wise Predictions via Self-knowledge Distillation", CVPR
2020, arXiv 2003.13964.
"""

import jax

from jaxlearn.core import Batch, Key, Model, Params, Rule, State, keys
from jaxlearn.objectives import accuracy, cross_entropy, weighted_mean
from jaxlearn.objectives.soft_targets import softened_kl
from jaxlearn.rules.backprop import backprop

PARTNER = "partner_inputs"
"""Key of a batch: for each example the inputs of another one of its class."""


def cs_kd(model: Model, *, temperature: float = 4.0, weight: float = 1.0) -> Rule:
    """`CE(f(x), y) + weight T^2 KL(softmax(f(x') / T) || softmax(f(x) / T))`, f(x') a constant.

    Equation 2: x' is another example of the class of x, `batch["partner_inputs"]`
    (`data.class_pairs` draws it). Both passes are training passes and move batch statistics.

    Args:
        model: gives logits.
        temperature: T, 4 in the paper.
        weight: lambda, 1 in the paper for most data sets.

    Raises:
        ValueError: when the temperature is not above 0 or the weight negative; while tracing, when
            the batch has no partners.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> rule, batch = cs_kd(tiny_stack()), tiny_batch()
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), batch)
        >>> pairs = batch | {"partner_inputs": batch["inputs"]}  # of themselves: no distance
        >>> grads, _, metrics = jax.jit(rule.signal)(params, state, pairs, jax.random.key(1))
        >>> float(metrics["distance"])
        0.0
    """
    if temperature <= 0 or weight < 0:
        raise ValueError(
            f"temperature has to be above 0 and weight at least 0: found {temperature}, {weight}"
        )
    plain = backprop(model, cross_entropy)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        if PARTNER not in batch:
            raise ValueError(
                f"cs_kd needs batch[{PARTNER!r}], see jaxlearn.data.class_pairs.with_partners"
            )
        key = keys.for_examples(key, batch)
        apply = lambda params, state, x: model.apply(params, state, x, train=True, key=key)

        def loss_of(params: Params):
            logits, new = apply(params, state, batch["inputs"])
            other, new = apply(jax.lax.stop_gradient(params), new, batch[PARTNER])
            distance = weighted_mean(softened_kl(other, logits, temperature), batch)
            loss = cross_entropy(logits, batch)[0] + weight * distance
            metrics = {"loss": loss, "accuracy": accuracy(logits, batch), "distance": distance}
            return loss, (new, metrics)

        grads, (new, metrics) = jax.grad(loss_of, has_aux=True)(params)
        return grads, new, metrics

    return plain._replace(signal=signal)


def examples() -> dict[str, Rule]:
    """The rule at toy size; a fainter view stands in for another example of the class."""
    from jaxlearn.core import prepared
    from jaxlearn.models.tiny import tiny_stack

    pair = lambda batch: batch | {PARTNER: 0.9 * batch["inputs"]}
    return {"cs-kd": prepared(cs_kd(tiny_stack()), pair)}
