"""Physical systems that transform data, and layers that train around them without derivatives."""

from jaxlearn.models.physical.acoustic import AcousticTwin, acoustic, unit_amplitude
from jaxlearn.models.physical.black_box import black_box, on_host, physics_aware
from jaxlearn.models.physical.layer import PhysicalLayer, as_model, physical_layer
from jaxlearn.models.physical.microwave import metasurface, two_bits
from jaxlearn.models.physical.optics import speckle

__all__ = [
    "AcousticTwin",
    "PhysicalLayer",
    "acoustic",
    "as_model",
    "black_box",
    "metasurface",
    "on_host",
    "physical_layer",
    "physics_aware",
    "speckle",
    "two_bits",
    "unit_amplitude",
]
