"""Tables for people: on the terminal and as Markdown, both from the JSON of a table."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.harness import pod_table
from experiments.harness.rounding import number, with_spread


def cell(entry: Mapping[str, Any] | None) -> str:
    """Spell `mean ± std`; without the spread for one seed.

    >>> cell({"mean": 91.0, "std": 1.414, "n": 2}), cell({"mean": 91.0, "std": 0.0, "n": 1})
    ('91.0 ± 1.4', '91')
    """
    if entry is None:
        return ""
    mean, std = entry["mean"], entry["std"]
    return number(mean) if entry["n"] == 1 else with_spread(mean, std)


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
        "ours as mean ± sample standard deviation over them, beside the paper's figures.",
        markdown_grid(grid(table)),
        _section("Columns", [f"`{name}`: {text}" for name, text in table["metrics"].items()]),
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
    rule = "|" + "".join(" --- |" if words else " ---: |" for words in of_words(lines))
    return "\n".join([rows[0], rule, *rows[1:]])


def of_words(lines: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each column of a grid has words rather than figures; the first one always has.

    >>> of_words([["row", "beside", "ms"], ["1", "torch 2", "3.5"], ["2", "", "n/a"]])
    [True, True, False]
    """
    columns = [[text for text in column[1:] if text] for column in zip(*lines, strict=True)]
    word = [any(text[0].isalpha() and text[:3] != "n/a" for text in column) for column in columns]
    return [True, *word[1:]]


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
    for name, text in table["metrics"].items():
        console.print(f"{name}: {text}", style="dim", markup=False, highlight=False)
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


def compile_grid(compiled: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return header and rows of text of what the compiler promises per device, slice by slice."""
    promised = [_promised(found) for found in compiled]
    names = {name: None for promise in promised for name in promise}
    header = ["per device", *map(pod_table.slice_of, compiled)]
    return [header, *([name, *(one.get(name, "") for one in promised)] for name in names)]


def _promised(found: Mapping[str, Any]) -> dict[str, str]:
    megabytes = {"temp_bytes": "temporaries, MB", "argument_bytes": "arguments, MB"}
    megabytes["bytes"] = "read and written, MB"
    promise = {name: f"{found[key] / 1e6:,.1f}" for key, name in megabytes.items() if key in found}
    promise["GFLOP"] = f"{found['flops'] / 1e9:,.4g}"
    if "kernels" in found:
        promise["kernels"] = str(found["kernels"])
    sizes = found.get("collective_bytes", {})
    for name, count in found["collectives"].items():
        promise[name] = str(count)
        if sizes.get(name):
            promise[f"{name}, MB"] = f"{sizes[name] / 1e6:,.2f}"
    return promise


def print_compiled(found: Mapping[str, Any]) -> None:
    """Print what the compiler promises per device."""
    Console().print(_rich(f"{found['slug']} ({found['preset']}), compiled", compile_grid([found])))


def bench_grid(bench: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text of a bench; a ratio is our time by the other's."""
    lines = [["step", "ms", "temporaries, MB", "GFLOP", "ratio to backprop", "peer", "ratio to it"]]
    for row in bench["rows"]:
        peer, ratio = row.get("peer", ""), row.get("ratio_to_peer")
        lines.append([
            row["name"],
            number(row["step_ms"]),
            f"{row['temp_bytes'] / 1e6:,.2f}",
            f"{row['flops'] / 1e9:,.4g}",
            f"{row['ratio_to_backprop']:.2f}",
            peer,
            "" if ratio is None else f"{ratio:.2f}",
        ])  # fmt: skip
    return lines


def scaling_grid(bench: Mapping[str, Any]) -> list[list[str]]:
    """Return header and rows of text of a step shared by several devices."""
    lines = [["step", "devices", "ms", "ratio to one device"]]
    for row in bench["scaling"]:
        figures = [str(row["devices"]), number(row["step_ms"]), f"{row['ratio_to_one']:.2f}"]
        lines.append([row["name"], *figures])
    return lines


def print_bench(bench: Mapping[str, Any]) -> None:
    """Print a bench, with the ratios as ours / theirs."""
    Console().print(_rich(f"{bench['slug']}: one step", bench_grid(bench)))
    if "scaling" in bench:
        Console().print(_rich(f"{bench['slug']}: a shared step", scaling_grid(bench)))


def _rich(title: str, lines: Sequence[Sequence[str]]) -> Table:
    made = Table(title=escape(title), title_justify="left")
    for name, words in zip(lines[0], of_words(lines), strict=True):
        made.add_column(escape(name), justify="left" if words else "right")
    for line in lines[1:]:
        made.add_row(*map(escape, line))
    return made


def png(figure: Any) -> bytes:
    """Return a matplotlib figure as PNG, the same bytes for the same figure."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
    return data.getvalue()
