"""Without the package, one line says what to install."""

import sys

import pytest
from jaxlearn_kernels.lif import Neuron

from jaxlearn.models.layers.lif import Lif
from jaxlearn.models.nir import from_nir, to_nir


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ValueError, match=r"install jaxlearn\[nir\]"):
        to_nir([Lif(Neuron(strict=True, reset="hard"))], {}, (3,))
    with pytest.raises(ValueError, match=r"install jaxlearn\[nir\]"):
        from_nir(None)
