"""A damaged checkpoint is named and passed over; a whole one comes back bit by bit."""

import errno
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.runtime import CheckpointError, arrays, checkpoint, digest
from tests import disk
from tests.runtime import toy


def tree(seed=0):
    key = jax.random.key(seed)
    return {
        "w": jax.random.normal(key, (7, 3)),
        "half": jax.random.normal(key, (5,), jnp.bfloat16),
        "mask": jnp.array([True, False]),
        "none": jnp.zeros((0, 4)),
        "count": jnp.int32(seed),
        "key": jax.random.split(key, 3),
        "nested": [toy.state(seed), (jnp.float32(np.nan),)],
    }


STORED = Path(__file__).parent / "stored"
"""A checkpoint written in November 2026; it is never made anew."""


def plain():
    """What it holds: numbers that no version of JAX rounds otherwise."""
    return {
        "w": jnp.arange(6.0).reshape(2, 3) / 8,
        "half": jnp.array([0.5, -2.0, 3.0], jnp.bfloat16),
        "mask": jnp.array([True, False]),
        "none": jnp.zeros((0, 4)),
        "count": jnp.int32(5),
        "key": jax.random.wrap_key_data(jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)),
        "nested": [{"v": jnp.float32(np.inf)}, (jnp.arange(4, dtype=jnp.uint8),)],
    }


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    shutil.copytree(STORED, tmp_path / "old")
    like = jax.tree.map(jnp.zeros_like, plain())
    saved = checkpoint.restore(tmp_path / "old", lambda notes: like)
    assert (saved.step, saved.notes) == (7, {"about": "an earlier version"})
    assert toy.bits(saved.tree) == toy.bits(plain())


def restored(folder):
    return checkpoint.restore(folder, lambda notes: tree(9))


@pytest.fixture
def two(tmp_path):
    """Checkpoints of steps 10 and 20."""
    checkpoint.save(tmp_path, 10, tree(1), {"a": 1})
    checkpoint.save(tmp_path, 20, tree(2), {"a": 2})
    return tmp_path


def test_everything_comes_back(two):
    saved = restored(two)
    assert (saved.step, saved.notes) == (20, {"a": 2})
    assert toy.bits(saved.tree) == toy.bits(tree(2))
    assert jax.tree.structure(saved.tree) == jax.tree.structure(tree())
    assert [x.dtype for x in jax.tree.leaves(saved.tree)] == [
        x.dtype for x in jax.tree.leaves(tree())
    ]


def test_nothing_saved_is_none(tmp_path):
    assert restored(tmp_path) is None
    assert restored(tmp_path / "absent") is None


def test_keeps_the_newest(two):
    for step in (30, 40):
        checkpoint.save(two, step, tree(step), keep=3)
    assert checkpoint.steps(two) == [20, 30, 40]
    with pytest.raises(ValueError, match=r"keep=1 leaves nothing"):
        checkpoint.save(two, 50, tree(), keep=1)


def test_names_that_look_alike_stay_apart(tmp_path):
    alike = {"a/b": jnp.float32(1), "a": {"b": jnp.float32(2)}}
    checkpoint.save(tmp_path, 1, alike)
    assert checkpoint.restore(tmp_path, lambda notes: alike).tree == alike


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def flip(file, rng):
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def test_a_flipped_bit_in_any_file_is_found(tmp_path):
    checkpoint.save(tmp_path / "good", 10, tree(1))
    checkpoint.save(tmp_path / "good", 20, tree(2))
    rng = np.random.default_rng(0)
    names = [
        name for name in files(tmp_path / "good/20") if (tmp_path / "good/20" / name).stat().st_size
    ]
    assert len(names) > 5
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", folder)
        flip(folder / "20" / name, rng)
        with pytest.warns(UserWarning, match="step 20") as caught:
            saved = restored(folder)
        assert len(caught) == 1
        # a damaged digest may blame the file whose entry it lost
        assert name in str(caught[0].message) or name == digest.NAME
        assert saved.step == 10
        assert toy.bits(saved.tree) == toy.bits(tree(1))


def largest(folder):
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def truncate(step):
    os.truncate(largest(step), largest(step).stat().st_size // 2)


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


@pytest.mark.parametrize(
    "damage, reason",
    [
        (truncate, "does not have its digest"),
        (lambda step: largest(step).unlink(), "is missing"),
        (lambda step: largest(step).write_bytes(b""), "does not have its digest"),
        (empty, "digest.json is missing"),
        (lambda step: (step / "digest.json").unlink(), "digest.json is missing"),
        (lambda step: (step / "digest.json").write_text("{}"), "digest.json is damaged"),
        (lambda step: (step / "more").write_text("?"), "more does not belong to it"),
    ],
)
def test_damage_is_named_and_the_one_before_is_used(two, damage, reason):
    damage(two / "20")
    with pytest.warns(UserWarning, match=rf"step 20 .*{reason}.*using the one before"):
        saved = restored(two)
    assert toy.bits(saved.tree) == toy.bits(tree(1))
    # said once, set aside, and never counted among the good ones again
    assert restored(two).step == 10
    checkpoint.save(two, 15, tree(3))
    assert checkpoint.steps(two) == [10, 15]
    assert (two / "20.damaged").is_dir()


def test_when_all_are_damaged_nothing_is_touched(two):
    for step in (10, 20):
        truncate(two / str(step))
    before = {name: (two / name).read_bytes() for name in files(two)}
    with pytest.raises(CheckpointError, match=r"all .* damaged \(step 20: .*, step 10: ") as error:
        restored(two)
    assert "\n" not in str(error.value)
    assert {name: (two / name).read_bytes() for name in files(two)} == before


class Killed(BaseException):
    """Stands for a process that is gone: nothing handles it."""


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        (checkpoint, "_clear"),
        (arrays, "write"),
        (checkpoint, "replace_text"),
        (digest, "write"),
        (checkpoint, "sync_folder"),
        (checkpoint, "_prune"),
    ],
    ids=lambda place: place[1],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_stage_leaves_a_whole_one(two, where, moment, again):
    module, name = where
    original = getattr(module, name)

    def killed(*arguments):
        if moment == "after":
            original(*arguments)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            checkpoint.save(two, 20 if again else 30, tree(3))
    saved = restored(two)
    # no warning either: what was not finished does not count as a checkpoint
    seed = {10: 1, 20: 3 if toy.bits(saved.tree) == toy.bits(tree(3)) else 2, 30: 3}[saved.step]
    assert toy.bits(saved.tree) == toy.bits(tree(seed))
    assert saved.step >= 20
    checkpoint.save(two, 40, tree(4))
    assert restored(two).step == 40
    assert not list(two.glob("*.draft"))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"w": jnp.zeros((7, 3), jnp.bfloat16)},
            r"w: expected bfloat16 \[7, 3\], found float32 \[7, 3\]",
        ),
        ({"w": jnp.zeros((7, 4))}, r"w: expected float32 \[7, 4\], found float32 \[7, 3\]"),
        ({"more": jnp.zeros(2)}, r"more: expected float32 \[2\], found no such leaf"),
        ({"mask": None}, r"mask: expected no such leaf, found bool \[2\]"),
        (
            {"key": jax.random.key(0, impl="rbg")},
            r"key: expected uint32 \[4\], found uint32 \[3, 2\]",
        ),
    ],
)
def test_another_state_is_refused_with_path_expected_and_found(two, change, message):
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.restore(two, lambda notes: tree() | change)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_and_leaves_the_older_ones(two, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays, "write", full)
    with pytest.raises(CheckpointError, match=r"step 30 .* no space left on the disk") as error:
        checkpoint.save(two, 30, tree(3))
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert toy.bits(restored(two).tree) == toy.bits(tree(2))


def fill_with(folder, big):
    for step in (2, 3, 4):
        checkpoint.save(folder, step, big)


def test_a_disk_that_is_really_full(tmp_path):
    with disk.small(tmp_path / "disk") as folder:
        big = {"w": jax.random.normal(jax.random.key(0), (50_000,))}
        checkpoint.save(folder, 1, big)
        with pytest.raises(CheckpointError, match=r"no space left on the disk") as error:
            fill_with(folder, big)
        assert "\n" not in str(error.value)
        saved = checkpoint.restore(folder, lambda notes: big)
        assert toy.bits(saved.tree) == toy.bits(big)
