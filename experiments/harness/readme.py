"""Which claims hold, experiment by experiment: a table between two marks of a README."""

from pathlib import Path

from experiments.harness import catalogue, store

BEGIN = "<!-- claims: `python -m experiments report` writes what stands here -->"
END = "<!-- end of claims -->"


def table(folder: Path) -> str:
    """Return the table in Markdown: the experiments of `folder`, and their kept `small` tables.

    The last column says how many of the claims hold: `7/8`.
    """
    lines = ["| experiment | paper | claims that hold |", "| --- | --- | ---: |"]
    for entry in catalogue.entries(folder):
        slug, share = entry["slug"], "not measured"
        file = folder / "results" / slug / "small.json"
        if file.exists():
            holds = [bool(claim["holds"]) for claim in store.read(file)["claims"]]
            share = f"{sum(holds)}/{len(holds)}"
            slug = f"[{slug}]({folder.name}/results/{slug}/small.md)"
        lines.append(f"| {slug} | {entry['paper']} | {share} |")
    return "\n".join(lines)


def filled(text: str, folder: Path) -> str:
    """Return `text` with the table between its marks.

    Raises:
        ValueError: when the marks are not there once each, in their order.
    """
    if text.count(BEGIN) != 1 or text.partition(BEGIN)[2].count(END) != 1:
        raise ValueError(f"README.md needs {BEGIN!r} and after it {END!r}, once each; restore them")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(folder)}\n\n{END}{rest.partition(END)[2]}"


def write(folder: Path) -> str:
    """Fill the README beside `folder`; return a line about it, an empty one if it has no mark."""
    file = folder.parent / "README.md"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if BEGIN not in text:
        return ""
    store.write(file, filled(text, folder))
    return f"written: the claims in {file}"
