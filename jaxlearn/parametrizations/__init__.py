"""What is trainable, one method per file; every module offers `examples()` for the batteries."""

from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.parametrizations.identity import identity
from jaxlearn.parametrizations.lora import lora
from jaxlearn.parametrizations.retrain import Retraining, Roles, retrain
from jaxlearn.parametrizations.snnk import adapters_only, linear_snnk
from jaxlearn.parametrizations.sparse_lora import sparse_lora

__all__ = [
    "Retraining",
    "Roles",
    "adapters_only",
    "freeze",
    "identity",
    "linear_snnk",
    "lora",
    "retrain",
    "sparse_lora",
]
