"""Pairs of random feature maps with `f(w . x + b) = E[phi(x) . psi(w, b)]`."""

from jaxlearn.models.layers.random_features.contract import (
    Draws,
    Features,
    identity_features,
    normalized,
    scaled,
)
from jaxlearn.models.layers.random_features.kernels import arc_cosine
from jaxlearn.models.layers.random_features.power_series import power_series_features
from jaxlearn.models.layers.random_features.projections import gaussian, orthogonal
from jaxlearn.models.layers.random_features.relu import relu_features
from jaxlearn.models.layers.random_features.spectra import SPECTRA, Spectrum
from jaxlearn.models.layers.random_features.universal import universal_features

__all__ = [
    "SPECTRA",
    "Draws",
    "Features",
    "Spectrum",
    "arc_cosine",
    "gaussian",
    "identity_features",
    "normalized",
    "orthogonal",
    "power_series_features",
    "relu_features",
    "scaled",
    "universal_features",
]
