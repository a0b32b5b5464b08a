"""What is trainable, one method per file; every module offers `examples()` for the batteries."""

from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.parametrizations.identity import identity
from jaxlearn.parametrizations.lora import lora

__all__ = ["freeze", "identity", "lora"]
