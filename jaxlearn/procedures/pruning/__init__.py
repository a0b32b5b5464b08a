"""One-shot pruning of trained networks: scores, choices, SparseGPT, and what they look at."""

from jaxlearn.procedures.pruning.choices import Choice, n_of_m, row_wise, unstructured
from jaxlearn.procedures.pruning.inputs import Inputs, linear_inputs
from jaxlearn.procedures.pruning.prune import Pruner, prune, sparsity
from jaxlearn.procedures.pruning.scores import magnitude, random_scores, wanda
from jaxlearn.procedures.pruning.sparsegpt import sparsegpt

__all__ = [
    "Choice",
    "Inputs",
    "Pruner",
    "linear_inputs",
    "magnitude",
    "n_of_m",
    "prune",
    "random_scores",
    "row_wise",
    "sparsegpt",
    "sparsity",
    "unstructured",
    "wanda",
]
