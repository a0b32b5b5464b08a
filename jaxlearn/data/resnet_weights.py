"""Trained ResNet-20, -32 and -56 for CIFAR-10, as arrays by the names of the PyTorch model."""

import numpy as np

from jaxlearn.data.npz import read_npz
from jaxlearn.data.source import DataFile, find

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The networks take `(image - MEAN) / STD` of images in [0, 1]."""
_STEMS = {20: "resnet20-12fca82f", 32: "resnet32-d509ac18", 56: "resnet56-4bfd9763"}
FILES = {
    depth: DataFile(
        (f"resnet-cifar10-weights/{stem}.npz", f"{stem}.npz"),
        "https://github.com/akamaster/pytorch_resnet_cifar10",
    )
    for depth, stem in _STEMS.items()
}


def array_names(depth: int) -> list[str]:
    """The arrays of ResNet-depth, 6n + 2 layers deep.

    >>> len(array_names(20)), array_names(20)[:2]
    (97, ['conv1.weight', 'bn1.weight'])
    """
    norm = ("weight", "bias", "running_mean", "running_var")
    names = ["conv1.weight", *(f"bn1.{part}" for part in norm)]
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            for k in (1, 2):
                place = f"layer{stage}.{block}."
                names += [f"{place}conv{k}.weight", *(f"{place}bn{k}.{part}" for part in norm)]
    return [*names, "linear.weight", "linear.bias"]


def resnet_weights(depth: int) -> dict[str, np.ndarray]:
    """The trained arrays of ResNet-20, -32 or -56, float32, kernels OIHW; nothing is unpickled.

    On the lossless test images they reach 91.78, 92.78 and 93.62 %;
    on the JPEG variant of the images about ten points less. The file is an npz made from the
    published checkpoint and has to be put in place by hand.

    Raises:
        ValueError: for another depth.
        MissingData: when the file is not there.
        CorruptData: when it is something else, or an array is missing.
    """
    if depth not in FILES:
        raise ValueError(f"depth={depth}; there are trained weights for {sorted(FILES)}")
    return read_npz(find(FILES[depth]), array_names(depth))
