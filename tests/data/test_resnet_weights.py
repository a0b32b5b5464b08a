"""The trained ResNets: names, shapes, and what is refused."""

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.resnet_weights import array_names, resnet_weights
from tests.data.conftest import put
from tests.data.test_npz import npz


def test_every_array_is_read_by_its_name(root):
    arrays = {name: np.full(2, i, np.float32) for i, name in enumerate(array_names(20))}
    put(root, "resnet-cifar10-weights/resnet20-12fca82f.npz", npz(**arrays))
    found = resnet_weights(20)
    assert len(found) == 97
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_names_grow_with_the_depth():
    # 10 arrays in a block of two convolutions, 5 in the stem, 2 in the head
    assert [len(array_names(depth)) for depth in (20, 32, 56)] == [10 * n + 7 for n in (9, 15, 27)]
    assert "layer3.8.bn2.running_var" in array_names(56)
    assert len(set(array_names(32))) == 157


def test_what_is_not_there_or_not_numbers_is_refused(root):
    with pytest.raises(ValueError, match=r"depth=44; there are trained weights for \[20, 32, 56\]"):
        resnet_weights(44)
    with pytest.raises(MissingData, match="resnet32-d509ac18"):
        resnet_weights(32)
    arrays = {name: np.zeros(1, np.float32) for name in array_names(32)}
    path = "resnet-cifar10-weights/resnet32-d509ac18.npz"
    put(root, path, npz(**{k: v for k, v in arrays.items() if k != "linear.bias"}))
    with pytest.raises(CorruptData, match=r"no array 'linear\.bias'"):
        resnet_weights(32)
    put(root, path, npz(**arrays | {"linear.bias": np.array([None], object)}))
    with pytest.raises(CorruptData, match="Python objects"):
        resnet_weights(32)
