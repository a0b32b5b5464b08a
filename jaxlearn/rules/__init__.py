"""Credit assignment, one method per file.

Every module offers `examples()`: its rules at toy size, for the batch of `models.tiny`. The
batteries and the composition grid find them there.
"""

from jaxlearn.core import over_time
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop, bptt
from jaxlearn.rules.greedy import greedy
from jaxlearn.rules.local_learning import LocalModule, local_learning
from jaxlearn.rules.single_forward import single_forward, virtual_examples, virtual_nodes
from jaxlearn.rules.sltt import sltt

__all__ = [
    "LocalModule",
    "auglocal",
    "backprop",
    "bptt",
    "greedy",
    "local_learning",
    "over_time",
    "single_forward",
    "sltt",
    "virtual_examples",
    "virtual_nodes",
]
