"""The published ResNet-20 as a start for quadratic networks."""

import jax
import numpy as np

from jaxlearn.core import TrainState
from jaxlearn.data.resnet_weights import resnet_weights
from jaxlearn.models.layers.quadratic import with_linear_path
from jaxlearn.models.option_a_resnet import RESNET20, from_torch


def published_start(states: TrainState) -> TrainState:
    """States of several seeds with the published ResNet-20 in the linear path of each."""
    params, state = from_torch(resnet_weights(20), RESNET20)
    shapes = jax.tree.map(lambda leaf: leaf[0], states.params)
    whole = (with_linear_path(shapes, params), state)
    seeds = jax.tree.leaves(states.params)[0].shape[0]
    repeated = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], seeds, 0), whole)
    return states._replace(params=repeated[0], state=repeated[1])
