"""A network of tanh layers in NumPy, written down from its equations, as an oracle for rules."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.models.shallow_blocks import dense_blocks

FEATURES, WIDTHS, CLASSES, EXAMPLES = 6, (5, 4), 3, 8
KEY = jax.random.key(3)


def network():
    """Two tanh blocks and a readout."""
    return dense_blocks(CLASSES, WIDTHS)


def a_batch():
    """Eight points with labels and weights that average to 1."""
    draw = np.random.default_rng(0)
    weight = draw.uniform(0.5, 1.5, EXAMPLES)
    return {
        "inputs": jnp.asarray(draw.normal(size=(EXAMPLES, FEATURES)), jnp.float32),
        "labels": jnp.asarray(np.arange(EXAMPLES) % CLASSES),
        "weight": jnp.asarray(weight / weight.mean(), jnp.float32),
    }


def forward(params, batch):
    """Inputs of every layer, and the logits: float64."""
    a, inputs = np.asarray(batch["inputs"], np.float64), []
    for i in range(len(WIDTHS) + 1):
        w, b = weights(params, i)
        inputs.append(a)
        z = a @ w + b
        a = np.tanh(z) if i < len(WIDTHS) else z
    return inputs, a


def weights(params, i):
    """Kernel and bias of layer i."""
    layer = params[str(i)]["Dense_0"]
    return np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"], np.float64)


def output_error(logits, batch):
    """Softmax minus one-hot, with each example's share of the mean."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    e = e / e.sum(1, keepdims=True) - np.eye(CLASSES)[np.asarray(batch["labels"])]
    return e * shares(batch)


def shares(batch):
    """Weight of every example in a mean over the batch, [B, 1]."""
    return np.asarray(batch["weight"], np.float64)[:, None] / EXAMPLES


def layer_signal(a, delta_z):
    """Signal of a layer's kernel and bias from the error at its pre-activation."""
    return {"Dense_0": {"kernel": a.T @ delta_z, "bias": delta_z.sum(0)}}


def expected(params, batch, deltas):
    """Signals of all layers: `deltas[i]` at the outputs of block i, true error at the readout."""
    inputs, logits = forward(params, batch)
    signals = {}
    for i, delta in enumerate(deltas):
        y = inputs[i + 1]
        signals[str(i)] = layer_signal(inputs[i], delta * (1 - y**2))
    last = len(deltas)
    signals[str(last)] = layer_signal(inputs[last], output_error(logits, batch))
    return signals


def assert_signals(found, wanted, rtol=1e-5, atol=1e-6):
    """The layers' signals agree; entries without parameters do not count."""
    found = {name: found[name] for name in wanted}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), found, wanted)
