"""Train the parameters themselves."""

from jaxlearn.core import Parametrization


def identity() -> Parametrization:
    """`materialize(theta, {}) = theta`."""
    return Parametrization(lambda key, params: (params, {}), lambda theta, frozen: theta)


def examples() -> dict[str, Parametrization]:
    """The parametrization of this file."""
    return {"identity": identity()}
