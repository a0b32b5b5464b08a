"""A digest of every file in a folder, the condition for trusting a checkpoint."""

import json
from pathlib import Path

from jaxlearn.runtime.files import replace_text, sha256

NAME = "digest.json"


def write(folder: Path) -> None:
    """Write `digest.json`: the SHA-256 of every file below the folder."""
    replace_text(folder / NAME, _text({name: sha256(folder / name) for name in _names(folder)}))


def fault(folder: Path) -> str:
    """What is wrong with the folder, in a few words that name the file; `""` if it is whole."""
    try:
        text = (folder / NAME).read_text()
    except FileNotFoundError:
        return f"{NAME} is missing"
    except (OSError, UnicodeDecodeError) as error:
        return f"{NAME} cannot be read ({error})"
    try:
        expected = json.loads(text)
    except ValueError:
        return f"{NAME} is damaged"
    if not (isinstance(expected, dict) and expected) or _text(expected) != text:
        return f"{NAME} is damaged"
    for name, hexadecimal in expected.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        try:
            if sha256(file) != hexadecimal:
                return f"{name} does not have its digest"
        except OSError as error:
            return f"{name} cannot be read ({error})"
    extra = set(_names(folder)) - expected.keys()
    return f"{min(extra)} does not belong to it" if extra else ""


def _names(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file != folder / NAME)
    return sorted(str(file.relative_to(folder)) for file in files)


def _text(names: dict[str, str]) -> str:
    return json.dumps(names, indent=1, sort_keys=True) + "\n"
