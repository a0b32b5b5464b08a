"""Credit assignment, one method per file.

Every module offers `examples()`: its rules at toy size, for the batch of `models.tiny`. The
batteries and the composition grid find them there.
"""

from jaxlearn.core import over_time
from jaxlearn.rules.backprop import backprop, bptt
from jaxlearn.rules.local_learning import LocalModule, local_learning

__all__ = ["LocalModule", "backprop", "bptt", "local_learning", "over_time"]
