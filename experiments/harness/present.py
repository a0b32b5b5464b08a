"""Tables for people: on the terminal and as Markdown, both from the JSON of a table."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.harness import pod_table


def number(value: float | int | None) -> str:
    """Spell a figure with four significant digits, whole numbers in full.

    >>> [number(v) for v in (97.25, 0.00012346, 1654.0, 3, 123456.7, None)]
    ['97.25', '0.0001235', '1654', '3', '123457', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if isinstance(value, int) or abs(value) >= 1e4:
        return f"{value:.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def cell(entry: Mapping[str, Any] | None) -> str:
    """Spell `mean ± std (n)`; without the spread for one seed.

    >>> cell({"mean": 91.0, "std": 1.414, "n": 2}), cell({"mean": 91.0, "std": 0.0, "n": 1})
    ('91 ± 1.414 (2)', '91 (1)')
    """
    if entry is None:
        return ""
    middle = "" if entry["n"] == 1 else f" ± {number(entry['std'])}"
    return f"{number(entry['mean'])}{middle} ({entry['n']})"


def columns(table: Mapping[str, Any]) -> list[str]:
    """Return every metric of the table, ours or the paper's, in order of appearance."""
    found: dict[str, None] = {}
    for row in table["rows"]:
        found |= dict.fromkeys([*row["metrics"], *row["paper"]])
    return list(found)


def grid(table: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text; the paper's figure of a metric stands beside ours."""
    metrics = columns(table)
    both = [name for name in metrics if any(name in row["paper"] for row in table["rows"])]
    header = ["row"]
    for name in metrics:
        header += [name, "paper"] if name in both else [name]
    lines = [header]
    for row in table["rows"]:
        line = [row["name"]]
        for name in metrics:
            line.append(cell(row["metrics"].get(name)))
            if name in both:
                line.append(number(row["paper"][name]) if name in row["paper"] else "")
        lines.append(line)
    return lines


def claim_lines(table: Mapping[str, Any]) -> list[str]:
    """Return one line per claim: ✓ or ✗ with its figures, · for one this preset cannot show."""
    lines = []
    for claim in table["claims"]:
        why = f" — {claim['explanation']}" if claim["explanation"] and not claim["holds"] else ""
        mark = "✓" if claim["holds"] else "✗"
        lines.append(f"{mark} {claim['id']}: {claim['text']} [{claim['measured']}]{why}")
    for claim in table["unjudged"]:
        lines.append(f"· {claim['id']}: {claim['text']} [not judged at {table['preset']}]")
    return lines


def environment_line(environment: Mapping[str, Any]) -> str:
    """Return the environment as one line."""
    return ", ".join(f"{key} {value}" for key, value in environment.items() if value is not None)


def markdown(table: Mapping[str, Any], picture: bool = False) -> str:
    """Return the table as a Markdown page; `picture` says that <preset>.png lies beside it."""
    seeds = ", ".join(map(str, table["seeds"]))
    parts = [
        f"# {table['title']}",
        f"{table['citation']}\n\nPreset `{table['preset']}`, seeds {seeds}; "
        "ours as mean ± sample standard deviation (seeds), beside the paper's figures.",
        markdown_grid(grid(table)),
        _section("Claims", claim_lines(table)),
        _section("Deviations from the paper", table["deviations"], numbered=True),
        _section("Notes", table["notes"]),
        f"![figure]({table['preset']}.png)" if picture else "",
        f"Measured with {environment_line(table['environment'])}.",
        f"Command: `python -m experiments table {table['slug']} --preset {table['preset']}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_grid(lines: Sequence[Sequence[str]]) -> str:
    """Return header and rows of text as a Markdown table."""
    rows = ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]
    rule = "|" + " --- |" + " ---: |" * (len(lines[0]) - 1)
    return "\n".join([rows[0], rule, *rows[1:]])


def _section(title: str, lines: Sequence[str], *, numbered: bool = False) -> str:
    marks = [f"{i}." if numbered else "-" for i in range(1, len(lines) + 1)]
    body = "\n".join(f"{mark} {line}" for mark, line in zip(marks, lines, strict=True))
    return f"## {title}\n\n{body}" if lines else ""


def print_table(table: Mapping[str, Any]) -> None:
    """Print the table, its claims and its notes."""
    console = Console()
    for place, lines in enumerate(pages(grid(table), console.width)):
        title = f"{table['title']} ({table['preset']})"
        console.print(_rich(title if place == 0 else "continued", lines))
    for line in claim_lines(table):
        style = {"✓": "green", "✗": "red"}.get(line[0], "dim")
        console.print(line, style=style, markup=False, highlight=False)
    for place, note in enumerate(table["deviations"], start=1):
        console.print(f"deviation {place}: {note}", markup=False, highlight=False)
    for note in table["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def pages(lines: Sequence[Sequence[str]], width: int) -> list[list[list[str]]]:
    """Cut a grid into grids of columns that fit the width, the first column in each of them.

    >>> pages([["row", "a", "b"], ["x", "1", "2"]], 12)
    [[['row', 'a'], ['x', '1']], [['row', 'b'], ['x', '2']]]
    """
    room = [max(map(len, column)) + 3 for column in zip(*lines, strict=True)]
    groups: list[list[int]] = [[]]
    for place in range(1, len(room)):
        used = 1 + room[0] + sum(room[i] for i in groups[-1])
        if groups[-1] and used + room[place] > width:
            groups.append([])
        groups[-1].append(place)
    return [[[line[0], *(line[i] for i in group)] for line in lines] for group in groups]


def print_metrics(title: str, metrics: Mapping[str, Any]) -> None:
    """Print names and figures, one per line."""
    lines = [["measured", "value"]]
    for name, value in metrics.items():
        figure = isinstance(value, (int, float)) and not isinstance(value, bool)
        lines.append([name, number(value) if figure else str(value)])
    Console().print(_rich(title, lines))


def compile_grid(found: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text of what the compiler promises per device."""
    lines = [["per device", "figure"]]
    names = ("temp_bytes", "argument_bytes", "flops", "bytes", "kernels")
    lines += [[name, number(found[name])] for name in names if name in found]
    lines += [[name, number(count)] for name, count in found["collectives"].items()]
    sizes = found.get("collective_bytes", {})
    return lines + [[f"{name}, bytes", number(size)] for name, size in sizes.items() if size]


def print_compiled(found: Mapping[str, Any]) -> None:
    """Print what the compiler promises per device."""
    title = f"{found['slug']} ({found['preset']}), {pod_table.title(found)}"
    Console().print(_rich(title, compile_grid(found)))


def bench_grid(bench: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text of a bench."""
    keys = ["name", "step_ms", "temp_bytes", "flops", "ratio_to_backprop", "peer", "ratio_to_peer"]
    return [keys, *([_spelled(row.get(key, "")) for key in keys] for row in bench["rows"])]


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else number(value)


def scaling_grid(bench: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text of a step shared by several devices."""
    keys = ["name", "devices", "step_ms", "ratio_to_one"]
    return [keys, *([_spelled(row[key]) for key in keys] for row in bench["scaling"])]


def print_bench(bench: Mapping[str, Any]) -> None:
    """Print a bench, with the ratios as ours / theirs."""
    Console().print(_rich(f"{bench['slug']}: one step", bench_grid(bench)))
    if "scaling" in bench:
        Console().print(_rich(f"{bench['slug']}: a shared step", scaling_grid(bench)))


def _rich(title: str, lines: Sequence[Sequence[str]]) -> Table:
    made = Table(title=escape(title), title_justify="left")
    for place, name in enumerate(lines[0]):
        made.add_column(escape(name), justify="right" if place else "left")
    for line in lines[1:]:
        made.add_row(*map(escape, line))
    return made


def png(figure: Any) -> bytes:
    """Return a matplotlib figure as PNG, the same bytes for the same figure."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
    return data.getvalue()
