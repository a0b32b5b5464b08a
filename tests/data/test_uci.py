"""UCI tables: what is read, what is refused, standardisation and folds."""

import gzip

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.uci import (
    CLASSIFICATION,
    REGRESSION,
    folds,
    standardised,
    uci_classification,
    uci_regression,
)
from tests.data.conftest import put

PARTS = {
    "data.txt": b"1 2 3\n4 5 6\n7 8 9.5\n",
    "index_features.txt": b"0\n1\n",
    "index_target.txt": b"2\n",
    "index_train_0.txt": b"2\n0\n",
    "index_test_0.txt": b"1\n",
}


def write(root, **changed):
    for name, data in (PARTS | {f"{k}.txt": v for k, v in changed.items()}).items():
        put(root, f"uci-regression/yacht/{name}", data)


def test_regression_columns_and_splits(root):
    write(root)
    table = uci_regression("yacht")
    assert table.inputs.tolist() == [[1, 2], [4, 5], [7, 8]]
    assert table.targets.tolist() == [3, 6, 9.5]
    assert [(a.tolist(), b.tolist()) for a, b in table.splits] == [([2, 0], [1])]


@pytest.mark.parametrize(
    ("part", "content", "text"),
    [
        ("data", b"1 2 3\n4 5\n", "damaged"),
        ("data", b"1 2 nan\n", "not finite"),
        ("data", b"1 2 1e39\n", "not finite"),
        ("index_features", b"0\n9\n", "from 0 to 2"),
        ("index_features", b"0\n0\n", "twice"),
        ("index_target", b"1\n2\n", "2 target columns"),
        ("index_test_0", b"0\n", "share rows"),
    ],
)
def test_damaged_regression_files_are_named(root, part, content, text):
    write(root, **{part: content})
    with pytest.raises(CorruptData, match=text):
        uci_regression("yacht")


def test_classification_words_become_indicators_and_gzip_is_read(root):
    rows = b"A, 1.5,'-1'\nB,2,'1'\n\nA,3,'1'\n"
    put(root, "uci-classification/ecoli.csv.gz", gzip.compress(rows))
    table = uci_classification("ecoli")
    assert table.inputs.tolist() == [[1, 0, 1.5], [0, 1, 2], [1, 0, 3]]
    assert (table.classes, table.targets.tolist()) == (("-1", "1"), [0, 1, 1])
    put(root, "uci-classification/glass.csv", b"1,2,3\n1,2\n")
    with pytest.raises(CorruptData, match="different lengths"):
        uci_classification("glass")


def test_unknown_and_missing_tables(root):
    with pytest.raises(ValueError, match="unknown table 'iris', expected one of abalone"):
        uci_classification("iris")
    with pytest.raises(MissingData, match="sonar"):
        uci_classification("sonar")


def test_standardised_by_the_training_part_alone():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (50, 3)), rng.normal(0, 1, (20, 3))
    train[:, 1] = test[:, 1] = 7
    ours, held = standardised(train, test)
    np.testing.assert_allclose(ours.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(ours.std(0), [1, 0, 1], atol=1e-6)
    expected = (test[:, 0] - train[:, 0].mean()) / train[:, 0].std()
    np.testing.assert_allclose(held[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("each", [5, 50])
def test_folds_of_balanced_classes_have_every_class_alike(each):
    """Ten classes in five folds: dealt one class after the other, not round the classes."""
    labels = np.arange(10 * each) % 10
    for split in folds(labels, 5, seed=1):
        for part, share in zip(split, (3, 1, 1), strict=True):
            assert np.bincount(labels[part]).tolist() == [share * each // 5] * 10


def test_folds_are_disjoint_equal_and_stratified():
    labels = np.repeat([0, 1], [34, 69])
    made = folds(labels, 5, seed=3)
    tests = np.concatenate([split.test for split in made])
    assert len(np.unique(tests)) == len(tests) == 100
    for split in made:
        assert [len(part) for part in split] == [63, 20, 20]
        assert len(np.unique(np.concatenate(split))) == 103
        assert abs(labels[split.test].mean() - labels.mean()) < 0.04
    assert not np.array_equal(made[0].test, folds(labels, 5, seed=4)[0].test)
    with pytest.raises(ValueError, match="3 folds or more"):
        folds(labels, 2, seed=0)


def real(read, name):
    try:
        return read(name)
    except MissingData as error:
        pytest.skip(str(error))


def test_real_tables_have_their_published_sizes(offline):
    sizes = {"boston": (506, 13), "energy": (768, 8), "concrete": (1030, 8), "protein": (45730, 9)}
    for name, shape in sizes.items():
        table = real(uci_regression, name)
        assert table.inputs.shape == shape
        train, test = table.splits[0]
        assert len(train) + len(test) == shape[0]
        assert len(test) == pytest.approx(shape[0] / 10, abs=1)
    counts = {"sonar": (208, 60, 2), "ionosphere": (351, 34, 2), "glass": (214, 9, 6)}
    for name, (n, d, k) in counts.items():
        table = real(uci_classification, name)
        assert (*table.inputs.shape, len(table.classes)) == (n, d, k)


def test_every_listed_table_can_be_read(offline):
    for read, names in ((uci_regression, REGRESSION), (uci_classification, CLASSIFICATION)):
        for name in names:
            table = real(read, name)
            assert len(table.inputs) == len(table.targets) > 200
            assert np.isfinite(table.inputs).all()
