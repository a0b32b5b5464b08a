"""Workbooks, the vowel table and the cavity's pairs, made here; and facts about the published."""

import io
import zipfile

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData, load
from jaxlearn.data.acoustic_cavity import acoustic_cavity, read_amplitudes
from jaxlearn.data.vowels import CLASSES, divided, planted_vowels
from jaxlearn.data.xlsx import parse_xlsx
from tests.data.conftest import put

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def workbook(sheet: str, texts: list[str] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        if texts is not None:
            items = "".join(f"<si><t>{text}</t></si>" for text in texts)
            archive.writestr("xl/sharedStrings.xml", f"<sst {NS}>{items}</sst>")
        body = f"<worksheet {NS}><sheetData>{sheet}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", body)
    return stream.getvalue()


def vowel_book(rows: list[tuple[str, list[float]]]) -> bytes:
    sheet = '<row r="1"><c r="A1"/></row>'
    for i, (_, formants) in enumerate(rows):
        cells = "".join(f"<c><v>{value}</v></c>" for value in formants)
        sheet += f'<row><c t="s"><v>{i}</v></c>{cells}</row>'
    return workbook(sheet, [name for name, _ in rows])


def made_rows(per_class: int = 5) -> list[tuple[str, list[float]]]:
    rng = np.random.default_rng(0)
    return [
        (f"w{speaker:02}{vowel}", (500 + 100 * c + rng.uniform(0, 50, 12)).tolist())
        for c, vowel in enumerate(CLASSES)
        for speaker in range(1, per_class + 1)
    ]


def test_cells_of_all_kinds_find_their_columns():
    sheet = (
        '<row><c r="B1" t="s"><v>1</v></c><c r="D1"><v>2.5</v></c><c><v>3</v></c></row>'
        '<row/><row><c t="inlineStr"><is><t>in</t><t>line</t></is></c>'
        '<c t="str"><v>=A</v></c></row>'
    )
    rows = parse_xlsx(workbook(sheet, ["a", "b"]), "book")
    assert rows == [[None, "b", None, 2.5, 3.0], [], ["inline", "=A"]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4 nothing",
        workbook("<row>"),
        workbook('<row><c t="s"><v>5</v></c></row>', ["a"]),
        workbook('<row><c r="C1"><v>1</v></c><c r="A1"><v>1</v></c></row>'),
        workbook("<row><c><v>ten</v></c></row>"),
        workbook("<row/>").replace(b"sheet1", b"sheet7"),
    ],
    ids=lambda data: str(len(data)),  # workbooks hold the time, and workers compare names
)
def test_other_bytes_are_corrupt(data):
    with pytest.raises(CorruptData, match=r"book|cell"):
        parse_xlsx(data, "book")


def test_entities_and_bombs_are_refused():
    with pytest.raises(CorruptData, match="entities"):
        parse_xlsx(workbook("<!DOCTYPE a><row/>"), "book")
    with pytest.raises(CorruptData, match="larger than 100"):
        parse_xlsx(workbook("<row/>" * 99), "book", 100)


def test_the_parts_are_scaled_by_the_training_part(root):
    rows = made_rows()
    put(root, "phyll/Vowel_dataset.xlsx", vowel_book(rows))
    data = load("vowels", seed=3, validation=4)
    sizes = [len(p["labels"]) for p in (data.train, data.validation, data.test)]
    assert sizes == [24, 4, 7]
    places = np.concatenate(list(data.positions.values()))
    assert sorted(places) == list(range(35))
    raw = np.array([formants for _, formants in rows])
    chosen = raw[data.positions["train"]]
    standard = (raw - chosen.mean(0)) / chosen.std(0)
    low = standard[data.positions["train"]].min()
    for name in ("train", "validation", "test"):
        part, place = getattr(data, name), data.positions[name]
        assert (part["inputs"][:, :8] == 0).all()
        want = np.maximum(standard[place] - low, 0)
        np.testing.assert_allclose(part["inputs"][:, 8:], want, atol=1e-5)
        np.testing.assert_array_equal(part["labels"], place // 5)
    assert not np.array_equal(load("vowels", seed=4).positions["test"], data.positions["test"])


def test_a_damaged_table_is_refused(root):
    good = made_rows(1)
    for rows, match in [
        ([("m01ae", [1.0] * 12)], "not a speaker"),
        ([("w01zz", [1.0] * 12)], "not a speaker"),
        ([*good, ("w01ae", [1.0] * 11)], "12 formants"),
        ([*good, ("w01ae", [0.0] * 12)], "not positive"),
        ([], "no utterances"),
    ]:
        put(root, "phyll/Vowel_dataset.xlsx", vowel_book(rows))
        with pytest.raises(CorruptData, match=match):
            load("vowels")


def test_missing_tables_and_impossible_parts(root):
    with pytest.raises(MissingData, match="PhyLL"):
        load("vowels")
    with pytest.raises(MissingData, match="acoustic"):
        acoustic_cavity()
    with pytest.raises(ValueError, match="test=40"):
        divided(np.ones((40, 12)), np.zeros(40, int), 0, 0, 40, 8, "here")


def test_planted_vowels_are_a_class_apart():
    data = planted_vowels(70)
    x, y = data.train["inputs"], data.train["labels"]
    centres = np.stack([x[y == c].mean(0) for c in range(7)])
    nearest = ((data.test["inputs"][:, None] - centres) ** 2).sum(-1).argmin(1)
    assert (nearest == data.test["labels"]).mean() > 0.9


def test_amplitudes_are_pairs_behind_the_silent_row(root):
    x = np.random.default_rng(0).uniform(size=(10_001, 20)).round(4)
    x[0] = 0
    text = lambda array: "\n".join(",".join(map(str, row)) for row in array).encode()
    put(root, "phyll/acoustic/x_data.csv", text(x))
    put(root, "phyll/acoustic/y_data.csv", text(2 * x))
    parts = acoustic_cavity()
    assert [len(parts[k]["inputs"]) for k in ("train", "validation", "test")] == [9000, 300, 700]
    np.testing.assert_allclose(parts["train"]["inputs"][0], x[1], rtol=1e-6)
    np.testing.assert_allclose(parts["test"]["targets"][-1], 2 * x[-1], rtol=1e-6)
    put(root, "phyll/acoustic/y_data.csv", text(x[:500]))
    with pytest.raises(CorruptData, match="no pairs"):
        acoustic_cavity()


@pytest.mark.parametrize(
    "text", [b"", b"1,2,3\n", b"a,b\n", b"-1" + b",0" * 19, b"nan" + b",0" * 19]
)
def test_other_numbers_are_no_amplitudes(tmp_path, text):
    with pytest.raises(CorruptData):
        read_amplitudes(put(tmp_path, "x.csv", text))


def test_the_published_vowels(real):
    data = real("vowels")
    assert [len(data.train["labels"]), len(data.test["labels"])] == [206, 52]
    labels = np.concatenate([data.train["labels"], data.test["labels"]])
    assert np.bincount(labels).tolist() == [37] * 6 + [36]
    x = data.train["inputs"]
    assert x.shape == (206, 20)
    assert x[:, 8:].min() == 0
    np.testing.assert_allclose(x[:, 8:].std(0), 1, atol=1e-4)
    first = data.train["inputs"][:, 8]  # F1 of "iy" is the lowest, that of "ae" and "ah" high
    f1 = [first[data.train["labels"] == c].mean() for c in range(7)]
    assert f1[CLASSES.index("iy")] == min(f1)


def test_the_published_cavity_is_nearly_linear_but_not_quite(offline):
    try:
        parts = acoustic_cavity()
    except MissingData as error:
        pytest.skip(str(error))
    wide = lambda p: np.c_[p["inputs"], np.ones(len(p["inputs"]))]
    weights = np.linalg.lstsq(wide(parts["train"]), parts["train"]["targets"], rcond=None)[0]
    rmse = np.sqrt(((wide(parts["test"]) @ weights - parts["test"]["targets"]) ** 2).mean())
    assert 0.0355 < rmse < 0.0365
