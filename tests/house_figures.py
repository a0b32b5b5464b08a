"""The house's figures over the tree, a mirror and not a gate: python -m tests.house_figures"""

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]


def trees(*folders: str) -> dict[Path, ast.Module]:
    """The syntax tree of every file but `__init__.py`."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: ast.parse(path.read_text()) for path in paths if path.name != "__init__.py"}


def spread(values: list[int]) -> str:
    """Median, 90th percentile and maximum."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.0f}, {ordered[int(0.9 * len(ordered))]}, {ordered[-1]}"


def lines(found: dict[Path, ast.Module]) -> list[int]:
    """Lines of each file."""
    return [len(path.read_text().splitlines()) for path in found]


def main() -> None:
    """Print the figures."""
    source = trees("jaxlearn", "kernels", "experiments")
    nodes = [node for tree in source.values() for node in ast.walk(tree)]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    public = [
        node
        for tree in source.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    documented = [node for node in public if ast.get_docstring(node)]
    shown = [node for node in documented if ">>>" in (ast.get_docstring(node) or "")]
    classes = sum(isinstance(node, ast.ClassDef) for node in nodes)
    total, tests = sum(lines(source)), sum(lines(trees("tests")))
    print(f"files {len(source)}; lines of a file: median, p90, max {spread(lines(source))}")
    sizes = [node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno]
    print(f"functions {len(functions)}; lines of a function: median, p90, max {spread(sizes)}")
    print(f"public names {len(public)}, documented {len(documented)}, with example {len(shown)}")
    print(f"classes per 1000 lines {1000 * classes / total:.1f}")
    print(f"lines of source {total}, of tests {tests}: {tests / total:.2f}")


if __name__ == "__main__":
    main()
