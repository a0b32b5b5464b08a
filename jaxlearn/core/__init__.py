"""Contracts, the step, and the combinators; no method lives here."""

from jaxlearn.core import axis, keys, trees
from jaxlearn.core.adapters import SequenceVariable, from_functions, from_linen, from_nnx
from jaxlearn.core.contracts import (
    ACTIVITY,
    CONTEXT,
    FROZEN,
    MEMORY,
    MOMENTUM,
    SEQUENCE,
    Batch,
    Key,
    Metrics,
    Model,
    Objective,
    Parametrization,
    Params,
    PyTree,
    Rule,
    State,
    TrainState,
)
from jaxlearn.core.microbatch import microbatch
from jaxlearn.core.online import make_online_step
from jaxlearn.core.over_time import over_time, through_time
from jaxlearn.core.precision import computing_in
from jaxlearn.core.prepared import prepared
from jaxlearn.core.reparametrize import reparametrize
from jaxlearn.core.route import route
from jaxlearn.core.stack import stack
from jaxlearn.core.step import Step, begin, make_state, make_step

__all__ = [
    "ACTIVITY",
    "CONTEXT",
    "FROZEN",
    "MEMORY",
    "MOMENTUM",
    "SEQUENCE",
    "Batch",
    "Key",
    "Metrics",
    "Model",
    "Objective",
    "Parametrization",
    "Params",
    "PyTree",
    "Rule",
    "SequenceVariable",
    "State",
    "Step",
    "TrainState",
    "axis",
    "begin",
    "computing_in",
    "from_functions",
    "from_linen",
    "from_nnx",
    "keys",
    "make_online_step",
    "make_state",
    "make_step",
    "microbatch",
    "over_time",
    "prepared",
    "reparametrize",
    "route",
    "stack",
    "through_time",
    "trees",
]
