"""Text files: packed or not, damaged, too long."""

import gzip

import pytest

from jaxlearn.data import CorruptData
from jaxlearn.data.text import read_text


def test_plain_and_packed_text_read_alike(tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_bytes("größer\n".encode())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_text(plain) == read_text(packed) == "größer\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\xfe\x00", "bad.txt is damaged"),
        (gzip.compress(b"x" * 90)[:-9], "bad.txt is damaged"),
        (gzip.compress(b"x" * 99), "more than 90 bytes"),
    ],
    ids=["no text", "cut short", "too long"],
)
def test_damaged_files_are_named(tmp_path, data, text):
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(CorruptData, match=text):
        read_text(path, limit=90)
