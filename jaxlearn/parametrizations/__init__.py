"""What is trainable, one method per file; every module offers `examples()` for the batteries."""

from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.parametrizations.identity import identity
from jaxlearn.parametrizations.lora import lora
from jaxlearn.parametrizations.snnk import adapters_only, linear_snnk

__all__ = ["adapters_only", "freeze", "identity", "linear_snnk", "lora"]
