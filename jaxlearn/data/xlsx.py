"""The first sheet of an Excel workbook, which is a zip of XML files."""

import io
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from jaxlearn.data.errors import CorruptData, parsing

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LIMIT = 1 << 25
Cell = str | float | None


def parse_xlsx(data: bytes, name: str, limit: int = _LIMIT) -> list[list[Cell]]:
    """Rows of `xl/worksheets/sheet1.xml`: texts, numbers, and None for empty cells.

    Rows are as long as their last cell; formulas give the value stored with them. Raises
    `CorruptData` for anything that is not such a workbook, for a document that declares entities,
    and beyond `limit` bytes in one part.
    """
    with parsing(name), zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        texts: list[str] = []
        if "xl/sharedStrings.xml" in names:
            root = _xml(archive, "xl/sharedStrings.xml", name, limit)
            texts = ["".join(t.text or "" for t in si.iter(f"{_MAIN}t")) for si in root]
        if "xl/worksheets/sheet1.xml" not in names:
            raise CorruptData(f"{name} has no sheet xl/worksheets/sheet1.xml")
        sheet = _xml(archive, "xl/worksheets/sheet1.xml", name, limit)
        return [_row(row, texts) for row in sheet.iter(f"{_MAIN}row")]


def read_xlsx(path: Path) -> list[list[Cell]]:
    """The rows of the first sheet of a file."""
    with parsing(path.name):
        data = path.read_bytes()
    return parse_xlsx(data, path.name)


def _xml(archive: zipfile.ZipFile, part: str, name: str, limit: int) -> ElementTree.Element:
    with archive.open(part) as stream:
        text = stream.read(limit + 1)
    if len(text) > limit:
        raise CorruptData(f"{name}: {part} is larger than {limit} bytes")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise CorruptData(f"{name}: {part} declares entities, which no workbook needs")
    return ElementTree.fromstring(text)


def _row(row: ElementTree.Element, texts: list[str]) -> list[Cell]:
    cells: list[Cell] = []
    for cell in row.iter(f"{_MAIN}c"):
        place = _column(cell.get("r", ""), len(cells))
        cells += [None] * (place - len(cells))
        cells.append(_value(cell, texts))
    return cells


def _column(reference: str, following: int) -> int:
    """The number of column "A", "B", …, "AA" in a reference such as "B7"; columns only ascend."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if letters is None:
        return following
    number = 0
    for letter in letters[0]:
        number = 26 * number + ord(letter) - ord("A") + 1
    if number - 1 < following:
        raise CorruptData(f"cell {reference} stands behind one of a later column")
    return number - 1


def _value(cell: ElementTree.Element, texts: list[str]) -> Cell:
    kind, value = cell.get("t", "n"), cell.findtext(f"{_MAIN}v")
    if kind == "inlineStr":
        return "".join(t.text or "" for t in cell.iter(f"{_MAIN}t"))
    if value is None:
        return None
    if kind == "s":
        return texts[int(value)]
    return value if kind in ("str", "e") else float(value)
