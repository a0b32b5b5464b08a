"""Direct feedback alignment: fixed random matrices carry the output's error to every layer.

Nokland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016
(arXiv 1609.01596); with signs of the error alone, Frenkel, Lefebvre, Bol (2021, arXiv 1909.01311).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Model,
    Objective,
    Params,
    PyTree,
    Rule,
    State,
    keys,
    stack,
    trees,
)
from jaxlearn.models.heads.projection import Draw, kaiming_uniform
from jaxlearn.objectives import cross_entropy, weighted_mean

FEEDBACK = "feedback"


def direct_feedback_alignment(
    blocks: Sequence[Model],
    classifier: Model,
    *,
    draw: Draw = kaiming_uniform,
    scale: float = 1.0,
    objective: Objective = cross_entropy,
    signs: bool = False,
) -> Rule:
    """`delta_i = B_i e` stands in for `dL / dy_i` behind the activation of every block.

    With `e = dL / d outputs` of the classifier (softmax minus one-hot for cross-entropy) and
    `y = sigma(W a + b)`, the signal is `dW = mean_b (B e sigma'(z)) a^T`. The classifier has its
    own gradient. Parameters are those of `stack([*blocks, classifier])`.

    Args:
        blocks: the hidden layers, each ending in its activation.
        classifier: from the last block's output to outputs `[B, C]`.
        draw: the distribution of `B`, as `[C, *units]`.
        scale: factor of `B`.
        objective: the loss.
        signs: take the signs of the error instead of the error (sDFA).

    Raises:
        ValueError: when the classifier's outputs are not `[B, C]`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> rule = direct_feedback_alignment(tiny_blocks(), tiny_head())
    """
    layers = [*blocks, classifier]
    net, last = stack(layers), str(len(blocks))

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = net.init(key, batch["inputs"])
        *shapes, outputs = jax.eval_shape(lambda: _outputs(layers, params, state, batch["inputs"]))
        if len(outputs.shape) != 2:
            raise ValueError(f"the classifier must give [B, C], found shape {outputs.shape}")
        feedback = {
            str(i): scale * draw(jax.random.fold_in(key, len(layers) + i), (outputs.shape[1], *s))
            for i, s in enumerate(y.shape[1:] for y in shapes)
        }
        states = {str(i): trees.part(state, str(i)) for i in range(len(layers))}
        return params, trees.joined(states | {FEEDBACK: {FROZEN: feedback}})

    def signal(params: Params, state: State, batch: Batch, key: Key):
        key, h = keys.for_examples(key, batch), batch["inputs"]
        pulls, states = {}, {FEEDBACK: trees.part(state, FEEDBACK)}
        for i, layer in enumerate(layers):
            name = str(i)
            own = (trees.part(state, name), h, jax.random.fold_in(key, i))
            h, pulls[name], states[name] = jax.vjp(_run(layer, *own), params[name], has_aux=True)
        error, metrics = _error(objective, h, batch)
        grads = {last: pulls.pop(last)(error)[0]}
        sent = jnp.sign(error) * _shares(batch, error) if signs else error
        for name, pull in pulls.items():
            delta = jnp.tensordot(sent, state[FROZEN][FEEDBACK][name], 1)
            grads[name] = pull(delta)[0]
        return grads, trees.joined(states), metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        states = {str(i): trees.part(state, str(i)) for i in range(len(layers))}
        outputs, new = net.apply(params, trees.joined(states), batch["inputs"])
        after = {name: trees.part(new, name) for name in states}
        return outputs, trees.joined(after | {FEEDBACK: trees.part(state, FEEDBACK)})

    return Rule(init, signal, predict)


def _run(layer: Model, state: State, h: PyTree, key: Key) -> Callable[[Params], tuple]:
    return lambda params: layer.apply(params, state, h, train=True, key=key)


def _outputs(layers: Sequence[Model], params: Params, state: State, x: PyTree) -> list[jax.Array]:
    outputs = []
    for i, layer in enumerate(layers):
        x, _ = layer.apply(params[str(i)], trees.part(state, str(i)), x)
        outputs.append(x)
    return outputs


def _error(objective: Objective, outputs: jax.Array, batch: Batch):
    """The gradient of the loss by the outputs, and the metrics."""

    def loss_of(outputs: jax.Array):
        loss, metrics = objective(outputs, batch)
        return loss, {"loss": loss} | metrics

    return jax.grad(loss_of, has_aux=True)(outputs)


def _shares(batch: Batch, error: jax.Array) -> jax.Array:
    """The weight of every example in the mean of a batch, `[B, 1]`."""
    shares = jax.grad(lambda losses: weighted_mean(losses, batch))(error[:, 0])
    return shares[:, None]


def examples() -> dict[str, Rule]:
    """With the error and with its signs, on layers of tanh as in the paper."""
    from jaxlearn.models.shallow_blocks import dense_blocks
    from jaxlearn.models.tiny import CLASSES, WIDTH

    blocks, readout = dense_blocks(CLASSES, (WIDTH, WIDTH))
    return {
        "dfa": direct_feedback_alignment(blocks, readout, scale=0.3),
        "sdfa": direct_feedback_alignment(blocks, readout, signs=True, scale=0.03),
    }
