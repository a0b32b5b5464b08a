"""tar archives that are not what they should be."""

import io
import tarfile

import pytest

from jaxlearn.data import CorruptData
from jaxlearn.data.archive import read_tar
from tests.data.conftest import put


def tar(members, mode="w:gz"):
    """tar bytes of name -> bytes, or name -> TarInfo for the odd ones."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is info:
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_only_the_wanted_members_are_read(tmp_path, mode):
    path = put(tmp_path, "a.tar", tar({"d/a": b"1", "d/b": b"22", "c": b""}, mode))
    assert read_tar(path, lambda name: name != "d/b") == {"d/a": b"1", "c": b""}


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_members_that_climb_out_are_refused_even_if_unwanted(tmp_path, name):
    path = put(tmp_path, "inner/a.tar", tar({name: b"x", "a": b"1"}))
    with pytest.raises(CorruptData, match="outside"):
        read_tar(path, lambda member: member == "a")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(CorruptData, match="regular"):
        read_tar(put(tmp_path, "a.tar", tar({"a": info})), lambda _: True)


def test_limit_and_damage(tmp_path):
    data = tar({"a": bytes(2000)}, "w")
    with pytest.raises(CorruptData, match="larger"):
        read_tar(put(tmp_path, "a.tar", data), lambda _: True, limit=1999)
    for broken in (b"", b"<html>", data[:1500], tar({"a": bytes(5000)})[:-20]):
        with pytest.raises(CorruptData, match=r"a\.tar"):
            read_tar(put(tmp_path, "a.tar", broken), lambda _: True)
