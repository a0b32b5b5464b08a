"""Typed `--config.FIELD VALUE` overrides of a preset, and one clear line for a wrong one.

tyro reads the values by the types of the dataclass; its own error report is a box of many lines,
so each override is tried alone with its output off and reported here.
"""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from experiments.harness.discover import unknown

PREFIX = "--config."
_SIMPLE = {"int": int, "float": float, "bool": bool, "str": str}


def split(words: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Split `--config.a 1 --config.b=2` into fields and their words.

    >>> split(["--config.lr", "0.1", "--config.width=3"])
    [('lr', ('0.1',)), ('width', ('3',))]
    """
    pairs: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        if word.startswith(PREFIX):
            name, equals, value = word.removeprefix(PREFIX).partition("=")
            pairs.append((name.replace("-", "_"), (value,) if equals else ()))
        elif pairs:
            pairs[-1] = (pairs[-1][0], (*pairs[-1][1], word))
        else:
            raise ValueError(f"unexpected argument {word!r}; overrides read {PREFIX}FIELD VALUE")
    return pairs


def check(pairs: Sequence[tuple[str, tuple[str, ...]]], fields: Mapping[str, str]) -> None:
    """Refuse unknown fields and wrong simple values, from annotations alone (no import).

    >>> check([("lr", ("x",))], {"lr": "float"})
    Traceback (most recent call last):
        ...
    ValueError: --config.lr: expected float, found 'x'
    """
    for name, words in pairs:
        head = name.partition(".")[0]
        if head not in fields:
            raise ValueError(unknown("field", name, fields))
        if head == name and fields[head] in _SIMPLE:
            _parse(_SIMPLE[fields[head]], None, name, words, fields[head])


def apply(preset: Any, pairs: Sequence[tuple[str, tuple[str, ...]]]) -> Any:
    """Return `preset` with all overrides at once, each read by the type of its field.

    Raises ValueError naming the field: unknown (with the nearest), of another type, given twice,
    or refused by the config's own `__post_init__`.
    """
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{PREFIX}{name} is given twice")
    return _replace(preset, [(name.split("."), name, words) for name, words in pairs])


def _replace(config: Any, given: Sequence[tuple[list[str], str, tuple[str, ...]]]) -> Any:
    """Return `config` with the fields at the given paths read from their words.

    All of them are replaced together: a pair of values may be valid only as a pair.
    """
    kinds = {f.name: f.type for f in dataclasses.fields(config) if f.init}
    changes: dict[str, Any] = {}
    inside: dict[str, list[tuple[list[str], str, tuple[str, ...]]]] = {}
    for path, name, words in given:
        head, rest = path[0], path[1:]
        if head not in kinds:
            raise ValueError(unknown("field", name, kinds))
        value = getattr(config, head)
        if bool(rest) != dataclasses.is_dataclass(value):
            raise ValueError(_depth(name, head, value))
        if rest:
            inside.setdefault(head, []).append((rest, name, words))
        else:
            kind = _resolved(type(config))[head]
            changes[head] = _parse(kind, value, name, words, _spell(kinds[head]))
    for head, parts in inside.items():
        changes[head] = _replace(getattr(config, head), parts)
    try:
        return dataclasses.replace(config, **changes) if changes else config
    except ValueError as error:
        names = ", ".join(f"{PREFIX}{name}" for _, name, _ in given)
        raise ValueError(str(error) if PREFIX in str(error) else f"{names}: {error}") from error


def _depth(name: str, head: str, value: Any) -> str:
    """Return the line about a path that ends too early or goes on too far."""
    if not dataclasses.is_dataclass(value):
        return f"{PREFIX}{name}: {head} is a single value"
    fields = ", ".join(f"{PREFIX}{name}.{f.name}" for f in dataclasses.fields(value))
    return f"{PREFIX}{name} is a group; set one of {fields}"


def _resolved(config: type) -> dict[str, Any]:
    """Return the annotations of a dataclass with strings evaluated, as tyro sees them."""
    return typing.get_type_hints(config, include_extras=True)


def _spell(kind: Any) -> str:
    plain = isinstance(kind, type) and not hasattr(kind, "__args__")
    return kind.__name__ if plain else str(kind).replace("typing.", "")


def _parse(kind: Any, default: Any, name: str, words: tuple[str, ...], spelling: str) -> Any:
    """Read `words` as a value of type `kind`."""
    found = repr(" ".join(words)[:60]) if words else "nothing"
    wrong = ValueError(f"{PREFIX}{name}: expected {spelling}, found {found}")
    # Python reads the plain types as tyro does, and tyro's import can wait
    if kind in (int, float, str):
        return _plain(kind, words, wrong)
    import tyro

    annotated = Annotated[kind, tyro.conf.FlagConversionOff]
    made = dataclasses.make_dataclass("Config", [("value", annotated, default)])
    try:
        # with its outputs off, tyro still prints one kind of report
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            arguments = ["--value", *words]
            return tyro.cli(made, args=arguments, console_outputs=False, prog="config").value
    except SystemExit:
        raise wrong from None


def _plain(kind: type, words: tuple[str, ...], wrong: ValueError) -> Any:
    """Read one word as int, float or str; NaN is no setting."""
    if len(words) != 1:
        raise wrong
    try:
        value = kind(words[0])
    except ValueError:
        raise wrong from None
    if value != value:
        raise wrong
    return value
