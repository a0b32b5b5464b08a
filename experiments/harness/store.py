"""Files that are whole or absent: strict JSON, written in one go. Imports nothing heavy."""

import contextlib
import dataclasses
import enum
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any, SupportsFloat


def plain(value: Any) -> Any:
    """Return `value` as JSON data: dataclasses and mappings as objects, numbers not finite as None.

    Raises ValueError for a value without a stable spelling, such as a function.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **parts}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, SupportsFloat) and not isinstance(value, type):
        number = float(value)
        return number if math.isfinite(number) else None
    raise ValueError(f"{type(value).__name__} cannot be part of a config or a result: {value!r}")


def dump(value: Any) -> str:
    """Return `value` as indented JSON text."""
    return json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def parse(text: str) -> Any:
    """Return the data of JSON text: what `dump` wrote, as a reader of the file sees it."""
    return json.loads(text)


def fingerprint(config: Any) -> str:
    """Return 12 hex digits that name a config: equal for equal configs, in every process.

    >>> fingerprint({"lr": 0.1}) == fingerprint({"lr": 0.1}) != fingerprint({"lr": 0.2})
    True
    """
    text = json.dumps(_exact(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _exact(config: Any) -> Any:
    """As `plain`, but an infinite or NaN setting keeps its name, so that it names another run."""
    if isinstance(config, float):
        return repr(config)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        parts = {f.name: _exact(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"class": type(config).__name__, **parts}
    if isinstance(config, dict):
        return {str(key): _exact(item) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [_exact(item) for item in config]
    return plain(config)


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read(path: Path) -> Any:
    """Return the JSON of a file; ValueError names a file that holds none."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); delete it to have it made anew") from error
