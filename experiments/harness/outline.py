"""What an experiment file says about itself, read from its syntax tree without running it.

Importing an experiment imports JAX, which takes seconds; `list` and the refusal of a misspelt
preset or field should not wait for that. Whatever is not written as a literal is None here, and
the caller imports the file instead.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outline:
    """The literal parts of an experiment file; None where a part is computed.

    `fields` maps each field of the class `Config` to the source text of its annotation.
    """

    title: str | None
    paper: str | None
    slots: tuple[str, ...] | None
    presets: tuple[str, ...] | None
    fields: Mapping[str, str] | None


def read(path: Path) -> Outline:
    """Read the outline of an experiment file; ValueError names a file that is not Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path.name}, line {error.lineno}: {error.msg}") from error
    names = dict(_assignments(tree))
    call = names.get("EXPERIMENT")
    given = {k.arg: k.value for k in call.keywords} if isinstance(call, ast.Call) else {}
    parts = {key: names.get(v.id, v) if isinstance(v, ast.Name) else v for key, v in given.items()}
    slots = _literal(parts.get("slots"))
    return Outline(
        title=_literal(parts.get("title")),
        paper=_literal(parts.get("paper")),
        slots=None if slots is None else tuple(slots),
        presets=_keys(parts.get("presets")),
        fields=_fields(tree, given.get("Config")),
    )


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the module's plain assignments `name = value`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            yield target.id, value


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _keys(node: ast.expr | None) -> tuple[str, ...] | None:
    """Return the keys of a dict display whose keys are all literal."""
    if not isinstance(node, ast.Dict):
        return None
    keys = [_literal(key) for key in node.keys]
    return tuple(keys) if all(isinstance(key, str) for key in keys) else None


def _fields(tree: ast.Module, name: ast.expr | None) -> dict[str, str] | None:
    """Return field → annotation of the Config class, unless it inherits fields from elsewhere."""
    wanted = name.id if isinstance(name, ast.Name) else None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == wanted and not node.bases:
            lines = [line for line in node.body if isinstance(line, ast.AnnAssign)]
            return {
                line.target.id: ast.unparse(line.annotation)
                for line in lines
                if isinstance(line.target, ast.Name)
            }
    return None
