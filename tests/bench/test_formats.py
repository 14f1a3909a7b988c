"""Every format of every layout: nothing lost, nothing broken by names, the same bytes each time."""

import csv
import io
import json
import math
import random
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from tests.bench.test_tables import rows_of, table
from usu.bench.results.schema import SCHEMA
from usu.bench.tables.formats import FORMATS
from usu.bench.tables.latex import escaped
from usu.bench.tables.layouts import LAYOUTS, layout
from usu.bench.tables.numbers import printed, row_counts, visible, written
from usu.bench.tables.panels import panels, width, wrap
from usu.bench.tables.sheet import Block, Column, Line, Number, Sheet, Word

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


def cell_of(number, **more):
    return Sheet("t", (), (Block("b", ("l",), (Column("c"),), (Line(("r",), (replace(number, **more),)),)),))


def hostile_sheet(name):
    cells = (
        Number(1.5e6, "magnitude", 3, (1.0, 2e7), 1, 6.91e6, "best"),
        Number(math.inf, "signed", 3),
        Word(name, 3),
    )
    columns = (Column(name, name), Column("plain", name), Column(name))
    rows = (Line((name, "x"), cells, name), Line(("y", name), cells, name))
    return Sheet(name, (name, "note"), (Block(name, ("label", "second"), columns, rows, (name,)),))


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


# --- lossless ones


@pytest.mark.parametrize("name", LAYOUTS)
def test_csv_read_back_equals_the_cells(sheets, name):
    check_csv(sheets[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_keeps_hostile_names(name):
    check_csv(hostile_sheet(name))


def check_csv(sheet):
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](sheet), newline="")))
    cells = [
        (block, row, column, cell)
        for block in sheet.blocks
        for row in block.rows
        for column, cell in zip(block.columns, row.cells, strict=True)
    ]
    assert len(lines) == len(cells)
    for line, (block, row, column, cell) in zip(lines, cells, strict=True):
        assert (line["block"], line["row_group"]) == (block.heading, row.group)
        assert tuple(line[label] for label in block.labels) == row.labels
        assert (line["column_group"], line["column"]) == (column.group, column.title)
        assert (line["n"], line["left_out"]) == ("" if cell.n is None else str(cell.n), str(cell.left_out))
        if isinstance(cell, Word):
            assert (line["value"], line["style"]) == (cell.text, "text")
            continue
        read = {key: float(line[key]) if line[key] else None for key in ("value", "low", "high", "paper")}
        low, high = cell.interval or (None, None)
        assert read == {"value": cell.value, "low": low, "high": high, "paper": cell.paper}
        assert (line["mark"], line["style"]) == (cell.mark or "", cell.style)


def _read(plain):
    """Build a sheet from JSON again."""

    def cell(fields):
        if "text" in fields:
            return Word(**fields)
        numbers = {key: fields[key] and float(fields[key]) for key in ("value", "paper")}
        interval = fields["interval"] and tuple(map(float, fields["interval"]))
        return Number(**{**fields, **numbers, "interval": interval})

    def line(fields):
        return Line(tuple(fields["labels"]), tuple(map(cell, fields["cells"])), fields["group"])

    blocks = (
        Block(
            fields["heading"],
            tuple(fields["labels"]),
            tuple(Column(**column) for column in fields["columns"]),
            tuple(map(line, fields["rows"])),
            tuple(fields["notes"]),
        )
        for fields in plain["blocks"]
    )
    return Sheet(plain["title"], tuple(plain["notes"]), tuple(blocks))


@pytest.mark.parametrize("name", LAYOUTS)
def test_json_loses_nothing(sheets, name):
    assert _read(json.loads(FORMATS["json"](sheets[name]))) == sheets[name]


@pytest.mark.parametrize("name", HOSTILE)
def test_json_keeps_hostile_names_and_infinity(name):
    text = FORMATS["json"](hostile_sheet(name))
    assert _read(json.loads(text, parse_constant=pytest.fail)) == hostile_sheet(name)


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
    assert max(map(width, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)
    return lines


def test_text_of_one_cell():
    number = Number(6.9141e6, "magnitude", 24, (6e6, 7e6), 1, 1.14e5, "best")
    assert FORMATS["text"](cell_of(number)).splitlines()[3:] == [
        "b",
        "-",
        "- * best, + second best",
        "l  n                              c",
        "------------------------------------",
        "r  24, 1 left out            6.91e6*",
        "                   [6.00e6, 7.00e6]",
        "                       paper 1.14e5",
    ]


def test_missing_and_single_cells_say_so(sheets):
    lines = FORMATS["text"](sheets["table3"]).splitlines()
    assert any("– n 0" in line for line in lines)
    single = next(line for line in lines if line.startswith("CUB-200  ") and "VGG16" in line)
    assert single.split()[2] == "1"  # n
    after = lines[lines.index(single) + 1]
    assert "paper" in after
    assert "[" not in after  # one image has no interval


def test_wide_tables_go_on_below(sheets):
    text = FORMATS["text"](sheets["honest"])
    for block in sheets["honest"].blocks[:1]:
        for column in block.columns:
            assert wrap(column.title, 20)[0] in text
    # No panel holds columns of both blocks.
    assert not any("A: as" in line and "B: scale" in line for line in text.splitlines())


def test_counts_stand_once_where_a_row_has_one():
    def block(*cells):
        return Block("b", ("l",), tuple(Column(str(i)) for i in range(len(cells))), (Line(("r",), cells),))

    four, five = Number(1.0, "fixed", 4), Number(1.0, "fixed", 5)
    assert row_counts(block(four, four, Number(None, "fixed", 0), Number(2.0, "fixed"))) == ["4"]
    assert row_counts(block(four, five)) is None
    assert row_counts(block(four, replace(four, left_out=1))) is None
    sheet = Sheet("t", (), (block(four, five),))
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
    # The group of rows, if it has a name, two labels, three cells.
    assert {len(_md_cells(line)) for line in lines} == {6 if name else 5}
    text = FORMATS["md"](hostile_sheet(name))
    assert not re.search(r"<(?!/?u>)", text)
    assert not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(", text)


def test_md_marks():
    number = Number(2.0, "fixed", 3, paper=0.5)
    assert "| r | 3 | **2.000** (paper 0.5) |" in FORMATS["md"](cell_of(number, mark="best"))
    assert "| r | 3 | <u>2.000</u> (paper 0.5) |" in FORMATS["md"](cell_of(number, mark="second"))
    assert "| r | – n 0 (paper 0.5) |" in FORMATS["md"](cell_of(number, value=None, n=0))


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
        assert page.words.count(visible(name)) >= 8


def test_html_rows_are_as_wide_as_the_table(sheets):
    text = FORMATS["html"](sheets["honest"])
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    rows = [row for row in body.split("<tr>")[1:] if 'class="group"' not in row]
    cells = {len(re.findall(r"<t[hd]", row.split("<tr class")[0])) for row in rows}
    assert len(cells) == 1


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
    text = FORMATS["latex"](cell_of(Number(-1.5e-7, "magnitude", 3, (-math.inf, 1.0), mark="best")))
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
        (math.inf, "signed", "∞"),
        (-math.inf, "signed", "-∞"),
        (0.5, "fixed", "0.500"),
        (-0.25, "signed", "-0.250"),
        (0.04, "p", "0.040"),
        (0.0000123, "p", "1.2e-5"),
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


def test_wrap_breaks_long_words():
    assert wrap("ab " + "c" * 7, 3) == ["ab", "ccc", "ccc", "c"]
    assert wrap("図図図", 4) == ["図図", "図"]
    assert wrap("", 4) == [""]


def test_panels_keep_groups_whole_where_they_fit():
    columns = [
        Column("a"),
        *(Column(str(i), "g") for i in range(3)),
        *(Column(str(i), "h") for i in range(4)),
    ]
    assert panels(columns, [3] * 8, 9) == [range(0, 1), range(1, 4), range(4, 7), range(7, 8)]
    assert panels(columns, [100] * 8, 9) == [range(i, i + 1) for i in range(8)]


def test_rows_stay_what_the_schema_says():
    assert ROWS.schema == SCHEMA
    assert asdict(layout("table2", ROWS))["title"]
