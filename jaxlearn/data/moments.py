"""Mean and deviation of every channel over the training images, for images in [0, 1]."""

from jaxlearn.data import cifar10

MOMENTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "fashion_mnist": ((0.286,), (0.353,)),
    "cifar10": (cifar10.MEAN, cifar10.STD),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
"""`(mean, deviation)` by the name of the data set."""
