"""CIFAR-10 in both variants, from small files made here."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxlearn.data import CorruptData, MissingData, load
from jaxlearn.data.cifar10 import decode_jpeg, decode_shard, parse_records
from tests.data.conftest import put
from tests.data.test_archive import tar
from tests.data.test_npz import npz


def records(n, shift=0):
    """n records whose red, green and blue planes are told apart, and their labels."""
    labels = ((np.arange(n) + shift) % 10).astype(np.uint8)
    planes = labels[:, None, None, None] + np.array([0, 50, 100], np.uint8)[None, :, None, None]
    pixels = np.broadcast_to(planes, (n, 3, 32, 32)).astype(np.uint8)
    data = np.concatenate([labels[:, None], pixels.reshape(n, -1)], axis=1)
    return data.tobytes(), labels


def jpeg(image, size=(32, 32), form="JPEG"):
    stream = io.BytesIO()
    Image.fromarray(image).resize(size).save(stream, form)
    return stream.getvalue()


def shard(n, **changes):
    """npz bytes of a shard of n flat images whose grey tells the label."""
    labels = (np.arange(n) % 10).astype(np.uint8)
    pieces = [jpeg(np.full((32, 32, 3), 20 * label, np.uint8)) for label in labels]
    offset = np.cumsum([0, *map(len, pieces)])
    arrays = {"jpeg": np.frombuffer(b"".join(pieces), np.uint8), "offset": offset, "label": labels}
    return npz(**{**arrays, **changes})


def put_shards(root):
    for stem in ("train_0", "train_1", "test"):
        put(root, f"cifar10-jpg/{stem}.npz", shard(20))


def test_records_become_channel_last_images():
    data, labels = records(12)
    images, read = parse_records(data, "a", 12)
    assert np.array_equal(read, labels)
    expected = labels[:, None] + np.array([0, 50, 100])
    assert np.array_equal(images[:, 31, 0], expected)


@pytest.mark.parametrize("count", [None, 4])
@pytest.mark.parametrize(
    "data", [b"", records(4)[0][:-1], records(4)[0] + b"\0", b"\x0a" + records(4)[0][1:]]
)
def test_other_bytes_are_refused(data, count):
    with pytest.raises(CorruptData, match="a has"):
        parse_records(data, "a", count)


def test_a_file_cut_between_records_is_refused():
    with pytest.raises(CorruptData, match="5 records"):
        parse_records(records(4)[0], "a", 5)


@pytest.mark.parametrize("packed", [True, False])
def test_binary_is_read_packed_or_not_and_preferred(root, packed, monkeypatch):
    put_shards(root)
    assert load("cifar10").source.startswith("jpg")
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    whole, _ = records(10_000)
    members = {f"cifar-10-batches-bin/{name}": whole for name in names}
    if packed:
        put(root, "cifar10/cifar-10-binary.tar.gz", tar(members, "w"))
    for name, data in {} if packed else members.items():
        put(root, name, data)
    dataset = load("cifar10", train=100, validation=50, test=20, as_float=False)
    assert dataset.source.startswith("binary")
    for part in (dataset.train, dataset.validation, dataset.test):
        assert np.array_equal(part["inputs"][:, 3, 4, 1], part["labels"] + 50)
    assert load("cifar10", variant="jpg", train=1).source.startswith("jpg")


def test_an_archive_without_a_batch_is_corrupt(root):
    put(root, "cifar10/cifar-10-binary.tar.gz", tar({"d/test_batch.bin": b"1"}))
    with pytest.raises(CorruptData, match=r"no data_batch_1\.bin"):
        load("cifar10")


def test_jpg_shards(root):
    put_shards(root)
    dataset = load("cifar10", validation=10)
    assert dataset.train["inputs"].shape == (30, 32, 32, 3)
    for part in (dataset.train, dataset.validation, dataset.test):
        grey = part["inputs"].mean((1, 2, 3)) * 255 / 20
        assert np.abs(grey - part["labels"]).max() < 0.2
    assert np.bincount(dataset.validation["labels"]).tolist() == [1] * 10


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"offset": np.array([0, 5])}, "rise"),
        ({"offset": np.array([0.0, 5.0])}, "vectors"),
        ({"offset": np.array([], np.int64)}, "vectors"),
        ({"jpeg": np.zeros(9, np.uint8), "offset": np.array([0, 9])}, "damaged"),
        ({"jpeg": np.zeros(9, np.int64), "offset": np.array([0, 9])}, "vectors"),
    ],
)
def test_damaged_shards(tmp_path, changes, words):
    with pytest.raises(CorruptData, match=words):
        decode_shard(put(tmp_path, "a.npz", shard(2, **changes)))


def test_labels_that_do_not_fit_the_images(root):
    put_shards(root)
    put(root, "cifar10-jpg/test.npz", shard(20, label=np.zeros(19, np.uint8)))
    with pytest.raises(CorruptData, match=r"test\.npz: its labels"):
        load("cifar10")


def test_only_small_jpegs_are_decoded():
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(CorruptData, match="64 x 32"):
        decode_jpeg(jpeg(image, (64, 32)), "a")
    with pytest.raises(CorruptData, match="damaged"):
        decode_jpeg(jpeg(image, form="PNG"), "a")


def test_neither_variant_there(root):
    with pytest.raises(MissingData, match=r"cifar-10-binary\.tar\.gz"):
        load("cifar10")
    with pytest.raises(MissingData, match="cifar10-jpg/train_0"):
        load("cifar10", variant="jpg")
    with pytest.raises(ValueError, match="variant='png'"):
        load("cifar10", variant="png")
