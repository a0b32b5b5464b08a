"""The spiking networks of SLTT's table."""

from typing import Any

from flax import linen
from jaxlearn_kernels.lif import Neuron

from experiments.parts.sltt_data import DATA
from jaxlearn.core import Model, Objective, Rule, from_linen
from jaxlearn.models.layers.lif import Lif
from jaxlearn.models.spiking_cnn import spiking_cnn_blocks
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.models.spiking_nf_resnet import spiking_nf_resnet_blocks
from jaxlearn.models.spiking_resnet import spiking_resnet18_blocks
from jaxlearn.models.spiking_vgg import spiking_vgg11_blocks
from jaxlearn.rules.ottt import ottt

NF_RESNETS: dict[str, dict[str, Any]] = {
    "nf_resnet34": {},
    "nf_resnet50": {"bottleneck": True},
    "nf_resnet101": {"bottleneck": True, "repeats": (3, 4, 23, 3)},
}


def neuron_of(config: Any) -> Neuron:
    """The neuron of the row."""
    return Neuron(decay=1 - 1 / config.tau, surrogate=config.surrogate)


def blocks_of(config: Any) -> list[Model]:
    """The blocks of the spiking network for one step."""
    neuron, classes = neuron_of(config), DATA[config.dataset].classes
    if config.network == "mlp":
        return spiking_mlp_blocks(classes, neuron=neuron)
    if config.network == "cnn":
        return spiking_cnn_blocks(classes, neuron=neuron)
    if config.network == "vgg11":
        return spiking_vgg11_blocks(classes, dropout=config.dropout, neuron=neuron)
    if config.network in NF_RESNETS:
        return spiking_nf_resnet_blocks(classes, **NF_RESNETS[config.network], neuron=neuron)
    return spiking_resnet18_blocks(classes, dropout=config.dropout, neuron=neuron)


def traced_mlp(config: Any, loss: Objective, **time: int) -> Rule:
    """OTTT over the layers of the fully connected network, cut into linear maps and neurons."""
    init, neuron = linen.initializers.variance_scaling(4.0, "fan_in", "normal"), neuron_of(config)
    pair = from_linen(linen.Dense(64, kernel_init=init)), from_linen(Lif(neuron))
    readout = from_linen(linen.Dense(DATA[config.dataset].classes))
    return ottt([pair, pair], readout, loss, config.T, decay=neuron.decay, **time)
