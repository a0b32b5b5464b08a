"""The 8 x 8 digits that come with scikit-learn: always there, no file needed."""

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble
from jaxlearn.data.splits import stratified_order


def digits(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """1,797 images float32 [N, 8, 8, 1] in [0, 1] (pixel / 16) of 10 classes.

    The set has no test part of its own: 360 images drawn by class with a fixed seed are it,
    whatever `seed` is; `seed` draws the validation images (default 143) from the other 1,437.

    >>> [len(digits().train["labels"]), len(digits().test["labels"])]
    [1294, 360]
    """
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    images = pixels.reshape(-1, 8, 8, 1).astype(np.float32) / np.float32(16)
    order = stratified_order(labels, seed=0)
    held, pool = np.sort(order[:360]), np.sort(order[360:])
    return assemble(
        "digits",
        "scikit-learn load_digits",
        tuple("0123456789"),
        (images[pool], labels[pool]),
        (images[held], labels[held]),
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        finish=np.asarray,
    )
