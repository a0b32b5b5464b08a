"""Credit assignment, one method per file.

Every module offers `examples()`: its rules at toy size, for the batch of `models.tiny`. The
batteries and the composition grid find them there.
"""

from jaxlearn.core import over_time
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop, bptt
from jaxlearn.rules.cs_kd import cs_kd
from jaxlearn.rules.direct_feedback_alignment import direct_feedback_alignment
from jaxlearn.rules.direct_random_target_projection import direct_random_target_projection
from jaxlearn.rules.feedback_alignment import feedback_alignment, with_feedback
from jaxlearn.rules.forward_forward import forward_forward, unsupervised_forward_forward
from jaxlearn.rules.forward_forward_graph import label_appending, virtual_node_passes
from jaxlearn.rules.greedy import greedy
from jaxlearn.rules.infopro import infopro
from jaxlearn.rules.local_learning import Auxiliary, LocalModule, local_learning, partition
from jaxlearn.rules.man import man
from jaxlearn.rules.ottt import ottt
from jaxlearn.rules.phyff import phyff, phyff_trainer
from jaxlearn.rules.predsim import predsim
from jaxlearn.rules.ps_kd import ps_kd
from jaxlearn.rules.read_last import read_last
from jaxlearn.rules.single_forward import single_forward, virtual_examples, virtual_nodes
from jaxlearn.rules.sltt import sltt
from jaxlearn.rules.target_projection import recurrent_target_projection, target_projection
from jaxlearn.rules.taught_by import taught_by, with_teacher
from jaxlearn.rules.top_down import top_to_input
from jaxlearn.rules.top_to_loss import top_to_loss
from jaxlearn.rules.truncated_bptt import truncated_bptt
from jaxlearn.rules.weight_noise import weight_noise

__all__ = [
    "Auxiliary",
    "LocalModule",
    "auglocal",
    "backprop",
    "bptt",
    "cs_kd",
    "direct_feedback_alignment",
    "direct_random_target_projection",
    "feedback_alignment",
    "forward_forward",
    "greedy",
    "infopro",
    "label_appending",
    "local_learning",
    "man",
    "ottt",
    "over_time",
    "partition",
    "phyff",
    "phyff_trainer",
    "predsim",
    "ps_kd",
    "read_last",
    "recurrent_target_projection",
    "single_forward",
    "sltt",
    "target_projection",
    "taught_by",
    "top_to_input",
    "top_to_loss",
    "truncated_bptt",
    "unsupervised_forward_forward",
    "virtual_examples",
    "virtual_node_passes",
    "virtual_nodes",
    "weight_noise",
    "with_feedback",
    "with_teacher",
]
