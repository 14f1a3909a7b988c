"""Every format of every layout: nothing lost, nothing broken by names, the same bytes each time."""

import io
import json
import math
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pyarrow as pa
import pytest
from wcwidth import wcswidth

from tests.bench.test_tables import rows_of, table
from usu.bench.results.schema import SCHEMA
from usu.bench.tables.cells import (
    AS_TEXT,
    CELL,
    Table,
    block_of,
    panels,
    printed,
    row_counts,
    visible,
    wide,
    written,
)
from usu.bench.tables.latex import escaped
from usu.bench.tables.layouts import layout
from usu.bench.tables.registry import FORMATS, LAYOUTS

METRICS = (
    "infidelity",
    "infidelity-minmax",
    "infidelity-scaled",
    "road",
    "irof-per-segment",
    "deletion-blur",
)
HOSTILE = (
    "<script>alert(1)</script>",
    "a|b\nc\td & <b> \"q\" 'r' `s`",
    r"\end{longtable}\input{/etc/passwd} $x_1^2$ # % ~ {",
    "=1+1; [x](http://y) ![z](q) *a* _b_",
    "\x1b[31m\u202eabc\u200b 図書館 ÅñÇ 😀",
    "[optional]",
    "*starred",
    "long" * 60,
    "resnet1e5",
    "",
)


def _values(shift):
    values = {}
    for place, name in enumerate(("nearest", "bilinear", "usu", "iwmr", "zero", "rise")):
        for metric in METRICS:
            values[name, metric] = [(place + shift + 1) * (1.5 + image) ** 2 for image in range(5)]
    values["iwmr", "road"][2] = math.nan
    values["usu", "deletion-blur"][4] = None
    return values


ROWS = table(
    rows_of(_values(0), d1=1e-8, settings='{"patch": 16}'),
    rows_of(_values(1e5), model="efficientnet-lite0", source="hirescam"),
    rows_of({key: series[:1] for key, series in _values(2).items()}, dataset="cub200"),
)


@pytest.fixture(scope="module")
def sheets():
    return {name: layout(name, ROWS) for name in LAYOUTS}


NUMBER = {
    "value": 6.9141e6,
    "style": "magnitude",
    "n": 24,
    "low": 6e6,
    "high": 7e6,
    "left_out": 1,
    "paper": 1.14e5,
}


def sheet_of(*cells, title="t", heading="b", labels=("l",), columns=(("", "c"),), notes=()):
    """Return a table of one block; a cell that does not say where stands in the row "r", the column "c"."""
    placed = pd.DataFrame([{**CELL, "l": "r", "column": "c", **cell} for cell in cells])
    return Table(title, notes, [block_of(heading, labels, columns, placed, notes)])


def hostile_sheet(name):
    cells = [
        {
            "label": first,
            "second": second,
            "group": group,
            "column": column,
            **cell,
        }
        for first, second in ((name, "x"), ("y", name))
        for (group, column), cell in zip(
            ((name, name), (name, "plain"), ("", name or "third")),
            (
                {**NUMBER, "n": 3, "mark": "best"},
                {"value": math.inf, "style": "signed", "n": 3},
                {"text": name, "n": 3},
            ),
            strict=True,
        )
    ]
    columns = [(name, name), (name, "plain"), ("", name or "third")]
    return sheet_of(
        *cells,
        title=name,
        heading=name,
        labels=("label", "second"),
        columns=columns,
        notes=(name, "note"),
    )


# --- all formats of all layouts


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_in_every_format(sheets, name, form):
    text = FORMATS[form](sheets[name])
    assert text.endswith("\n")
    assert text == FORMATS[form](sheets[name])
    text.encode("utf-8")


def test_shuffled_rows_give_the_same_bytes():
    order = list(range(len(ROWS)))
    random.Random(1).shuffle(order)
    shuffled = ROWS.take(pa.array(order))
    for form in FORMATS.values():
        assert form(layout("table3", shuffled)) == form(layout("table3", ROWS))
    assert FORMATS["json"](layout("honest", shuffled)) == FORMATS["json"](layout("honest", ROWS))


# --- lossless ones


def check_cells(read, block):
    """Compare cells that were read with those of a block; infinity may have come as text."""
    assert len(read) == len(block.cells)
    for name in (*block.labels, *CELL):
        expected = block.cells[name]
        if expected.dtype == object:
            assert [*read[name].fillna("")] == [*expected]
        else:
            found = pd.to_numeric(read[name])
            assert [*found.astype(float).fillna(-1)] == [*expected.astype(float).fillna(-1)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_csv_read_back_equals_the_cells(sheets, name):
    check_csv(sheets[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_keeps_hostile_names(name):
    check_csv(hostile_sheet(name))


def check_csv(sheet):
    texts = dict.fromkeys(["block", "group", "column", "text", "mark", "style"], str)
    labels = {label: str for block in sheet.blocks for label in block.labels}
    read = pd.read_csv(
        io.StringIO(FORMATS["csv"](sheet), newline=""),
        dtype=texts | labels,
        keep_default_na=False,
        na_values={name: [""] for name in ("value", "low", "high", "n", "paper")},
        float_precision="round_trip",
    )
    assert len(read) == sum(len(block.cells) for block in sheet.blocks)
    at = 0
    for block in sheet.blocks:
        own = read.iloc[at : at + len(block.cells)]
        assert (own["block"] == block.heading).all()
        check_cells(own, block)
        at += len(block.cells)


def check_json(sheet):
    plain = json.loads(FORMATS["json"](sheet), parse_constant=pytest.fail)
    assert (plain["title"], plain["notes"]) == (sheet.title, [*sheet.notes])
    assert len(plain["blocks"]) == len(sheet.blocks)
    for read, block in zip(plain["blocks"], sheet.blocks, strict=True):
        assert (read["heading"], read["notes"]) == (block.heading, [*block.notes])
        assert (read["labels"], read["columns"]) == ([*block.labels], [[*column] for column in block.columns])
        check_cells(pd.DataFrame(read["cells"]), block)


@pytest.mark.parametrize("name", LAYOUTS)
def test_json_loses_nothing(sheets, name):
    check_json(sheets[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_json_keeps_hostile_names_and_infinity(name):
    check_json(hostile_sheet(name))


# --- text


@pytest.mark.parametrize("name", LAYOUTS)
def test_text_fits_a_terminal(sheets, name):
    check_text(sheets[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_hostile_names(name):
    lines = check_text(hostile_sheet(name))
    assert not any(ord(character) < 32 for line in lines for character in line)


def check_text(sheet):
    text = FORMATS["text"](sheet)
    lines = text.removesuffix("\n").split("\n")
    assert max(map(wcswidth, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)
    return lines


def test_text_of_one_cell():
    assert FORMATS["text"](sheet_of(NUMBER | {"mark": "best"})).splitlines()[2:] == [
        "",
        "b",
        "-",
        "-  * best, + second best",
        "",
        "l    n                              c",
        "---  --------------  ----------------",
        "r    24, 1 left out           *6.91e6",
        "                     [6.00e6, 7.00e6]",
        "                         paper 1.14e5",
    ]


def test_one_image_has_no_interval(sheets):
    lines = FORMATS["text"](sheets["table3"]).splitlines()
    single = next(line for line in lines if line.startswith("CUB-200  ") and "VGG16" in line)
    assert single.split()[2] == "1"  # n
    after = lines[lines.index(single) + 1]
    assert "paper" in after
    assert "[" not in after


def test_wide_tables_go_on_below(sheets):
    text = FORMATS["text"](sheets["honest"])
    lines = text.splitlines()
    heads = {group for group, _ in sheets["honest"].blocks[0].columns}
    assert heads == {"The map", "A: as the paper measures", "B: scale-fair, other segmenters, whole pixels"}
    for group in heads:
        assert f"{group}:" in lines
    shown = {(cell.group, cell.column) for cell in sheets["honest"].blocks[0].cells.itertuples()}
    for _, title in shown:
        assert title.split()[0] in text


def test_counts_stand_once_where_a_row_has_one():
    def block(*cells):
        placed = [
            {"column": f"c{place}", "value": 1.0, "style": "fixed", **cell}
            for place, cell in enumerate(cells)
        ]
        return sheet_of(*placed, columns=[("", cell["column"]) for cell in placed]).blocks[0]

    four, five = {"n": 4}, {"n": 5}
    assert row_counts(block(four, four, {"value": 2.0})) == ["4"]
    assert row_counts(block(four, five)) is None
    assert row_counts(block(four, {"n": 4, "left_out": 1})) is None
    sheet = Table("t", (), [block(four, five)])
    for name in ("text", "md", "html", "latex"):
        text = re.sub(r"[$]", "", FORMATS[name](sheet))
        assert "n 4" in text
        assert "n 5" in text


# --- Markdown


def _md_cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


@pytest.mark.parametrize("name", HOSTILE)
def test_md_of_hostile_names(name):
    lines = [line for line in FORMATS["md"](hostile_sheet(name)).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    # Two labels, three cells.
    assert {len(_md_cells(line)) for line in lines} == {5}
    text = FORMATS["md"](hostile_sheet(name))
    assert not re.search(r"<(?!/?u>)", text)
    assert not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(", text)


@pytest.mark.parametrize(
    ("mark", "shown"),
    [("best", "**2.000** (paper 0.5)"), ("second", "<u>2.000</u> (paper 0.5)"), ("", "2.000 (paper 0.5)")],
)
def test_md_marks(mark, shown):
    cell = {"value": 2.0, "style": "fixed", "n": 3, "paper": 0.5, "mark": mark}
    row = FORMATS["md"](sheet_of(cell)).splitlines()[-1]
    assert [cell.strip() for cell in _md_cells(row)] == ["r", "3", shown]


# --- HTML


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.links = [], set(), [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "onclick", "onerror")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _page(sheet):
    page = _Page()
    page.feed(FORMATS["html"](sheet))
    page.close()
    assert page.open == []
    assert page.links == []
    return page


@pytest.mark.parametrize("name", LAYOUTS)
def test_html_is_whole(sheets, name):
    page = _page(sheets[name])
    for block in sheets[name].blocks:
        assert block.heading in page.words
    assert "http" not in FORMATS["html"](sheets[name]).replace("http-equiv", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_html_of_hostile_names(name):
    page = _page(hostile_sheet(name))
    known = "html head meta title style body h1 h2 ul li div table thead tbody tr th td small sup u strong"
    assert page.tags <= set(known.split())
    if name:
        assert visible(name) in "".join(page.words)
        # Title twice, notes twice, heading, group, two titles, two labels, two words.
        assert page.words.count(visible(name)) == 12


def test_html_rows_are_as_wide_as_the_table(sheets):
    text = FORMATS["html"](sheets["honest"])
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    reach, widths = 0, set()
    for row in body.split("<tr>")[1:]:
        spans = [int(found) for found in re.findall(r'rowspan="(\d+)"', row)]
        widths.add(len(re.findall(r"<t[hd]", row)) + (reach > 0))
        reach = max([reach, *spans]) - 1
    assert len(widths) == 1


# --- LaTeX


@pytest.mark.parametrize("name", LAYOUTS)
def test_latex_is_balanced(sheets, name):
    check_latex(FORMATS["latex"](sheets[name]))


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_of_hostile_names(name):
    text = FORMATS["latex"](hostile_sheet(name))
    check_latex(text)
    assert r"\input" not in text.replace(r"\textbackslash{}input", "")


def check_latex(text):
    assert text.isascii()
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)
    for found in re.finditer(
        r"\\begin\{longtable\}\[l\]\{@\{\}(\w+)@\{\}\}(.*?)\\end\{longtable\}", text, re.DOTALL
    ):
        for line in found[2].splitlines():
            if " & " in line and r"\multicolumn" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == len(found[1]) - 1
    # A row that began with a bracket or a star would belong to the line break before it.
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_latex_numbers():
    cell = {"value": -1.5e-7, "style": "magnitude", "n": 3, "low": -math.inf, "high": 1.0, "mark": "best"}
    text = FORMATS["latex"](sheet_of(cell))
    assert r"\textbf{$-1.50\times 10^{-7}$}" in text
    assert r"{[}$-\infty$, $1.00${]}" in text


def test_latex_letters():
    assert escaped("é Ã β ✓ 図 a-b") == r"\'{e} \~{A} $\beta$ $\surd$ (U+56F3) a{-}b"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path, sheets):
    parts = [*sheets.values(), *map(hostile_sheet, HOSTILE)]
    body = "\n".join(FORMATS["latex"](sheet) for sheet in parts)
    preamble = "\\documentclass{article}\n\\usepackage{booktabs,longtable}\n\\begin{document}\n"
    (tmp_path / "all.tex").write_text(f"{preamble}{body}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# --- numbers and widths


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.0, "magnitude", "0"),
        (27.46, "magnitude", "27.5"),
        (4321.0, "magnitude", "4321"),
        (12345.0, "magnitude", "1.23e4"),
        (-0.00012345, "magnitude", "-1.23e-4"),
        (0.00123, "magnitude", "0.00123"),
        (1.5e12, "magnitude", "1.50e12"),
        (1.5e-12, "magnitude", "1.50e-12"),
        (math.inf, "signed", "∞"),
        (-math.inf, "signed", "-∞"),
        (math.nan, "signed", "NaN"),
        (0.5, "fixed", "0.500"),
        (-0.25, "signed", "-0.250"),
        (0.04, "p", "0.040"),
        (0.0000123, "p", "1.2e-5"),
        (0.0, "p", "0.000"),
        (133.0, "count", "133"),
        (133.25, "count", "133.2"),
        (6.94, "percent", "6.9"),
    ],
)
def test_written(value, style, text):
    assert written(value, style) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7e6, "7e6"), (1.02e8, "1.02e8"), (4.95e-7, "4.95e-7"), (1384, "1384"), (0.051, "0.051")],
)
def test_printed(value, text):
    assert printed(value) == text


def test_text_breaks_long_words():
    lines = FORMATS["text"](sheet_of({"l": "c" * 60, "text": "図" * 15})).splitlines()
    assert [line.split() for line in lines[-3:]] == [["c" * 26, "図" * 10], ["c" * 26, "図" * 5], ["c" * 8]]


def test_panels_keep_groups_apart():
    titles = [
        ("", "a"),
        *(("g", str(place)) for place in range(3)),
        *(("h", str(place)) for place in range(4)),
    ]
    cells = [{"group": group, "column": title, "text": "x"} for group, title in titles]
    shown = wide(sheet_of(*cells, columns=titles).blocks[0], AS_TEXT)
    # The label takes five places, and each column five.
    assert panels(shown, 5 + 15, 26, 20) == [[0], [1, 2, 3], [4, 5, 6], [7]]
    assert panels(shown, 1, 26, 20) == [[place] for place in range(8)]


def test_rows_stay_what_the_schema_says():
    assert ROWS.schema == SCHEMA
    assert layout("table2", ROWS).title
