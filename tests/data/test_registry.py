"""The datasets by name."""

import pytest

from jaxlearn.data import MissingData, load, names


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        load("cifar-10")
    with pytest.raises(ValueError, match=r"there are amazon_photo, babi_1, .*, cifar10, "):
        load("zzzzzzz")


def test_unknown_option_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="fashion_mnist has no option 'trian'; it has train"):
        load("fashion_mnist", trian=3)


def test_every_missing_dataset_says_so_in_one_line(root, monkeypatch):
    missing = []
    for name in names():
        try:
            load(name)
        except MissingData as error:
            text = str(error)
            assert all(word in text for word in ("JAXLEARN_DATA", "https://"))
            assert "\n" not in text
            missing.append(name)
    # digits come with scikit-learn; Fashion-MNIST may be a package of the system
    assert set(names()) - set(missing) - {"digits", "fashion_mnist", "mnist"} == set()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"train": 0}, "train=0"),
        ({"train": 1400, "validation": 100}, "train=1400 and validation=100 out of 1437"),
        ({"validation": -1}, "validation=-1"),
        ({"validation": 1437}, "1437"),
        ({"test": 361}, "test=361 examples asked for, 360"),
        ({"test": 0}, "test=0"),
        ({"seed": -1}, "non-negative"),
    ],
)
def test_sizes_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        load("digits", **options)


def test_the_same_options_give_the_same_arrays():
    one, other = load("digits", seed=3, train=50), load("digits", seed=3, train=50)
    assert all((one.train[key] == other.train[key]).all() for key in one.train)
    assert set(one.train["labels"]) == set(range(10))
