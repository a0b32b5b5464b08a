"""CIFAR-100 from small files made here."""

import numpy as np
import pytest

from jaxlearn.data import CorruptData, cifar100, load
from jaxlearn.data.cifar100 import parse_records
from tests.data.conftest import put


def records(n):
    """n records: coarse label, fine label, planes that are told apart."""
    fine = (np.arange(n) % 100).astype(np.uint8)
    planes = fine[:, None, None, None] + np.array([0, 50, 100], np.uint8)[None, :, None, None]
    pixels = np.broadcast_to(planes, (n, 3, 32, 32)).astype(np.uint8)
    return np.concatenate([fine[:, None] // 5, fine[:, None], pixels.reshape(n, -1)], 1).tobytes()


def test_records_become_channel_last_images_with_fine_labels():
    images, labels = parse_records(records(120), "a", 120)
    np.testing.assert_array_equal(labels, np.arange(120) % 100)
    np.testing.assert_array_equal(images[:, 3, 7], labels[:, None] + np.array([0, 50, 100]))


@pytest.mark.parametrize(
    "data", [b"", records(3)[:-1], b"\0\x64" + records(1)[2:]], ids=["none", "cut", "label 100"]
)
def test_other_bytes_are_refused(data):
    with pytest.raises(CorruptData, match="a has"):
        parse_records(data, "a")


def test_unpacked_files_are_read_and_short_ones_refused(root, monkeypatch):
    names = "\n".join(f"class{i}" for i in range(100)).encode()
    files = {"train.bin": records(200), "test.bin": records(100), "fine_label_names.txt": names}
    for name, data in files.items():
        put(root, f"cifar100/{name}", data)
    with pytest.raises(CorruptData, match="50000 records"):
        load("cifar100")
    whole = cifar100.parse_records
    monkeypatch.setattr(cifar100, "parse_records", lambda data, name, count: whole(data, name))
    data = load("cifar100", validation=100)
    assert [len(part["labels"]) for part in (data.train, data.validation, data.test)] == [100] * 3
    assert data.classes[7] == "class7"
    assert data.train["inputs"].dtype == np.float32


def test_names_are_counted(root):
    for name, data in (("train.bin", b"1"), ("test.bin", b"1"), ("fine_label_names.txt", b"a b")):
        put(root, f"cifar100/{name}", data)
    with pytest.raises(CorruptData, match="2 names"):
        load("cifar100")
