"""The pages of the reference, read from the packages' syntax trees: a module joins by existing.

One page per room: what the room offers at its door, then every module with its public functions
and classes, its type aliases and its documented constants, signatures as the source has them.
"""

import ast
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Trees = Mapping[str, ast.Module]


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return name → reStructuredText of every page, `index` first."""
    trees = modules(root / "jaxlearn") | modules(root / "kernels" / "jaxlearn_kernels")
    rooms = [name for name in trees if name.count(".") == 1 and name.startswith("jaxlearn.")]
    written = {
        room.removeprefix("jaxlearn."): "\n".join(_page(room, trees))
        for room in [*rooms, "jaxlearn_kernels"]
    }
    listed = "\n".join(f"   {name}" for name in written)
    index = [
        _heading("Reference", "="),
        ".. automodule:: jaxlearn\n",
        ".. toctree::\n   :maxdepth: 2\n",
    ]
    return {"index": "\n".join([*index, listed, ""]), **written}


def write(folder: Path) -> None:
    """Write the pages into a folder and remove those of rooms that are gone."""
    folder.mkdir(exist_ok=True)
    made = {folder / f"{name}.rst": text for name, text in pages().items()}
    for path in set(folder.glob("*.rst")) - set(made):
        path.unlink()
    for path, text in made.items():
        # Sphinx reads again what is younger than its last build
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def modules(package: Path) -> dict[str, ast.Module]:
    """Return dotted name → syntax tree of a package and of every module in it, sorted."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


def _page(room: str, trees: Trees) -> Iterator[str]:
    inside = [name for name in trees if name == room or name.startswith(f"{room}.")]
    offered = {full for name in inside for full in _offered(name, trees).values()}
    for name in inside:
        yield _heading(name.removeprefix(f"{room}.").removeprefix("jaxlearn."), "=-"[name != room])
        yield f".. automodule:: {name}\n"
        if _offered(name, trees):
            yield _door(name, trees)
        scope = _Qualified(name, trees)
        for defined, (node, text) in _definitions(trees[name]).items():
            full = f"{name}.{defined}"
            if isinstance(node, ast.FunctionDef):
                yield f".. autofunction:: {name}::{defined}{scope.signature(node)}\n"
            elif isinstance(node, ast.ClassDef):
                yield _class(f"{name}::{defined}", node, scope)
            elif text or full in offered or not defined.isupper():
                yield _data(defined, node, text)


def _heading(title: str, rule: str) -> str:
    return f"{title}\n{rule * len(title)}\n"


@cache
def _definitions(tree: ast.Module) -> dict[str, tuple[ast.stmt, str]]:
    """Return name → node and docstring of everything a module defines under a public name."""
    found = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, text = node.name, ast.get_docstring(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else "_"
            text = ast.get_docstring(ast.Module([after], [])) if after else None
        else:
            continue
        overload = isinstance(node, ast.FunctionDef) and "overload" in _marks(node)
        if not name.startswith("_") and not overload:
            found[name] = (node, text or "")
    return found


def _marks(function: ast.FunctionDef) -> set[str]:
    return {ast.unparse(mark) for mark in function.decorator_list}


def _offered(name: str, trees: Trees) -> dict[str, str]:
    """Return name → full name of what `__all__` of a package lists, empty without `__all__`."""
    listed: list[str] = []
    for node in trees[name].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
    return {short: _origin(f"{name}.{short}", trees) for short in listed}


def _origin(full: str, trees: Trees) -> str:
    """Follow imports from package to package until a name's own module."""
    module, _, name = full.rpartition(".")
    if module in trees and name not in _definitions(trees[module]):
        imported = _imports(trees[module]).get(name, full)
        if imported != full:
            return _origin(imported, trees)
    return full


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return name → full name of what a module imports by `from … import …`."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _door(package: str, trees: Trees) -> str:
    """List what `from package import …` offers, each with its first sentence."""
    lines = [f"``from {package} import …``\n", ".. list-table::", "   :widths: 30 70", ""]
    for short, full in _offered(package, trees).items():
        module, _, name = full.rpartition(".")
        if full in trees:
            text, role = ast.get_docstring(trees[full]), "mod"
        else:
            node, text = _definitions(trees[module])[name]
            text, role = text or f"`{_value(node)}`", "obj"
        first = " ".join((text or "").split("\n\n")[0].split())
        lines += [f"   * - :py:{role}:`{short} <{full}>`", f"     - {first}"]
    return "\n".join(lines) + "\n"


def _class(name: str, node: ast.ClassDef, scope: "_Qualified") -> str:
    init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    signature = scope.signature(init[0], bound=True) if init else scope.fields(fields)
    lines = [f".. autoclass:: {name}{signature}", ""]
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and ast.get_docstring(member):
            marks = _marks(member)
            own = member.name == "__call__" or not member.name.startswith("_")
            if own and "property" in marks:
                lines += [f"   .. autoproperty:: {name}.{member.name}", ""]
            elif own:
                called = scope.signature(member, bound="staticmethod" not in marks)
                lines += [f"   .. automethod:: {name}.{member.name}{called}", ""]
    return "\n".join(lines)


def _data(name: str, node: ast.stmt, text: str) -> str:
    value, lines = _value(node), [f".. py:data:: {name}"]
    # a table of figures is read in the source
    lines += [f"   :value: {value}"] if 0 < len(value) <= 160 else []
    return "\n".join([*lines, "", *(f"   {line}" for line in text.splitlines()), ""])


def _value(node: ast.stmt) -> str:
    given = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return ast.unparse(given) if given else ""


class _Qualified(ast.NodeTransformer):
    """Signatures of one module whose annotations name this package's types in full, as links."""

    def __init__(self, module: str, trees: Trees) -> None:
        own = {name: f"{module}.{name}" for name in _definitions(trees[module])}
        found = {name: _origin(full, trees) for name, full in _imports(trees[module]).items()}
        self.full = {k: v for k, v in (found | own).items() if v.startswith("jaxlearn")}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.full.get(node.id, node.id), mode="eval").body

    def written(self, annotation: ast.expr) -> str:
        return ast.unparse(self.visit(deepcopy(annotation)))

    def signature(self, function: ast.FunctionDef, bound: bool = False) -> str:
        """The arguments of a function, of a method without its first."""
        arguments = deepcopy(function.args)
        if bound:
            (arguments.posonlyargs or arguments.args).pop(0)
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg) and argument.annotation:
                argument.annotation = self.visit(argument.annotation)
        returns = f" -> {self.written(function.returns)}" if function.returns else ""
        return f"({ast.unparse(arguments)}){returns}"

    def fields(self, fields: list[ast.AnnAssign]) -> str:
        """The fields of a dataclass, a NamedTuple or a Linen module as arguments."""
        given = []
        for field in fields:
            name = ast.unparse(field.target)
            if not name.startswith("_"):
                default = f" = {ast.unparse(field.value)}" if field.value else ""
                given.append(f"{name}: {self.written(field.annotation)}{default}")
        return f"({', '.join(given)})" if given else ""
