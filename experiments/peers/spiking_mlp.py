"""A dense spiking network in PyTorch, layer by layer over all steps of time.

Its neurons are written out, or those of spikingjelly or snnTorch; the rest is the same.
"""

from typing import Any

from experiments.harness import Program
from experiments.peers.neurons import along
from experiments.peers.spiking import NEURONS
from experiments.peers.torch import (
    affine,
    agree,
    in_order,
    leaves,
    loss_of,
    placed,
    stepper,
    tensor,
    torch,
    weights,
)


def start(program: Program, *, leak: float, online: bool, rate: float, package: str = "torch"):
    """A step of Adam over the mean of the steps' cross-entropies.

    Args:
        program: ours, with its state and a batch of inputs `[batch, T, d]`.
        leak: share of the membrane that stays.
        online: no gradient goes back in time (SLTT).
        rate: learning rate.
        package: whose neurons.

    Raises:
        ValueError: when its loss is not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    x = placed(program.batch["inputs"]).transpose(0, 1).contiguous()
    labels = tensor(program.batch["labels"]).long()
    *blocks, readout = in_order(params)
    step = NEURONS[package](leak)

    def cut(current: Any, v: Any) -> tuple[Any, Any]:
        return step(current, v.detach())

    fire = along(cut if online else step)

    def objective() -> Any:
        h = x
        for block in blocks:
            h = fire(affine(block["Dense_0"], h))
        logits = affine(readout, h)
        return f.cross_entropy(logits.flatten(0, 1), labels.repeat(len(x)))

    agree(loss_of(program), objective, f"dense spiking network with neurons of {package}")

    return stepper(lambda: [objective()], t.optim.Adam(leaves(params), rate))
