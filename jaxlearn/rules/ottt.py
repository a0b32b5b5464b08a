"""OTTT: online training through time, for spiking networks.

Xiao, Meng, Zhang, He and Lin, "Online Training Through Time for Spiking Neural Networks", NeurIPS
2022, arXiv 2210.04195.
"""

from collections.abc import Sequence

from jaxlearn.core import Model, Objective, Rule, over_time, stack
from jaxlearn.models.layers.traced import traced
from jaxlearn.rules.backprop import backprop


def ottt(
    layers: Sequence[tuple[Model, Model]],
    readout: Model,
    objective: Objective,
    T: int,
    *,
    decay: float,
    K: int | None = None,
    time_axis: int | None = None,
) -> Rule:
    """The gradient of every step through the layers, times a trace of what each layer has seen.

    ::

        a^l[t]     = decay a^l[t-1] + s^l[t]
        g W^{l+1}  = (1/T) sum_t dL[t]/du^{l+1}[t] a^l[t]^T

    with `dL[t]/du^{l+1}[t]` through the layers of the same step alone, as in SLTT, where the
    present spikes `s^l[t]` stand in the place of the trace. So the weights are taught what their
    own neurons remember, and only routes through the memory of later neurons are left out. Memory
    does not grow with `T`.

    It is `sltt` over `traced` blocks: `over_time(backprop(stack(...)), T)`. Parameters are those of
    `stack`, with the linear part of layer l under `str(2 * l)`. For an update at every step (the
    paper's OTTT_O) take `backprop` over the same stack with `make_online_step`.

    Args:
        layers: pairs of a linear block and its neurons.
        readout: the last block, taught by present spikes alone; pass `traced(readout, decay)` where
            its output is remembered.
        objective: the loss of one step.
        T: steps per sequence.
        decay: of the traces: that of the neurons.
        K: how many steps teach, as in SLTT-K; all by default.
        time_axis: the axis of the inputs that is time; by default the same inputs at every step.

    Raises:
        ValueError: when `T`, `K` or `decay` is out of range.

    Example:
        >>> import jax
        >>> from flax import linen
        >>> from jaxlearn.core import from_linen
        >>> from jaxlearn.models.layers.lif import Lif
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_head
        >>> from jaxlearn.objectives import cross_entropy
        >>> layer = from_linen(linen.Dense(8, use_bias=False)), from_linen(Lif())
        >>> rule = ottt([layer], tiny_head(), cross_entropy, T=4, decay=1 - 1 / 1.1)
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> list(params)
        ['0', '1', '2']
    """
    pairs = [(traced(linear, decay), neurons) for linear, neurons in layers]
    net = stack([*(part for pair in pairs for part in pair), readout])
    return over_time(backprop(net, objective), T, update_steps=K, time_axis=time_axis)


def examples() -> dict[str, Rule]:
    """OTTT at toy size."""
    from flax import linen

    from jaxlearn.core import from_linen
    from jaxlearn.models.layers.lif import SLTT_NEURON, Lif
    from jaxlearn.models.tiny import WIDTH, tiny_head
    from jaxlearn.objectives import cross_entropy

    init = linen.initializers.variance_scaling(4.0, "fan_in", "normal")
    layer = from_linen(linen.Dense(WIDTH, kernel_init=init)), from_linen(Lif())
    rule = ottt([layer, layer], tiny_head(), cross_entropy, 4, decay=SLTT_NEURON.decay)
    return {"ottt": rule}
