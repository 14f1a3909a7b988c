"""Tables from rows of results with answers worked out by hand."""

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import usu.bench
from usu.bench.results.schema import SCHEMA
from usu.bench.tables import published as paper
from usu.bench.tables.averages import averages, marked
from usu.bench.tables.comparisons import compare, corrected, pairs
from usu.bench.tables.frame import study_of
from usu.bench.tables.labels import CONTESTANT_WORDS, METRIC_WORDS
from usu.bench.tables.layouts import LAYOUTS, layout
from usu.bench.tables.notes import MARKS, THEIRS, UNMEASURED
from usu.bench.tables.sheet import Number, Word
from usu.metrics import statistics

NAN = math.nan


def rows_of(
    values,
    *,
    dataset="imagenet",
    model="vgg16",
    source="gradcam",
    d1=0.0,
    passes=3,
    settings="{}",
):
    """Return rows of {(upsampler, metric): values by image}."""
    rows = []
    for (upsampler, metric), series in values.items():
        for image, value in enumerate(series):
            if value is None:
                continue
            rows.append(
                {
                    "dataset": dataset,
                    "image": f"image {image}",
                    "image_hash": "00",
                    "target": 1,
                    "probability": 0.9,
                    "model": model,
                    "weights_hash": "cafe",
                    "source": source,
                    "upsampler": upsampler,
                    "upsampler_settings": "{}",
                    "metric": metric,
                    "metric_settings": settings,
                    "value": value,
                    "total_mass": 2.0 + image,
                    "d1_error": 10 * d1,
                    "d1_relative": d1 * (image + 1),
                    "forward_passes": passes,
                    "seconds": 0.1,
                    "seed": 0,
                    "versions": '{"usu": "0"}',
                }
            )
    return rows


def table(*parts):
    return pa.Table.from_pylist([row for part in parts for row in part], schema=SCHEMA)


def block_of(sheet, heading):
    return next(block for block in sheet.blocks if block.heading == heading)


def cell_at(block, labels, title, group=None):
    row = next(row for row in block.rows if row.labels == labels)
    index = next(
        index
        for index, column in enumerate(block.columns)
        if column.title == title and group in (None, column.group)
    )
    return row.cells[index]


# --- the paper's figures


def test_printed_factors_follow_from_the_printed_infidelities():
    # The paper rounds its infidelities to three digits, so that factors come back to about 1 %.
    for (variant, dataset), spread in paper.TABLE8_SPREAD.items():
        factors = [a / b for (at, _), (a, b) in paper.TABLE8[variant].items() if at == dataset]
        assert len(factors) == 7
        assert np.mean(factors) == pytest.approx(spread.mean, rel=2e-3)
        assert np.std(factors) == pytest.approx(spread.deviation, rel=0.02)
        assert 100 * np.std(factors) / np.mean(factors) == pytest.approx(spread.variation, abs=0.15)


def test_tables_3_and_9_print_the_same_interpolations():
    for place in paper.PAIRS:
        for method in ("bilinear", "bicubic", "lanczos"):
            assert paper.TABLE3[place][method] == paper.FULL[place][method, "infidelity"]


def test_every_figure_of_the_paper_has_a_place():
    assert set(paper.TABLE3) == set(paper.TABLE7) == set(paper.FULL) == set(paper.PAIRS)
    assert all(len(figures) == 36 for figures in paper.FULL.values())
    known = set(CONTESTANT_WORDS)
    assert {*paper.TABLE2, *paper.TABLE3_METHODS, *paper.FULL_METHODS, *paper.TABLE8} <= known
    assert set(paper.FULL_METRICS) <= set(METRIC_WORDS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("vgg16", "vgg16"),
        ("timm:vgg16.tv_in1k", "vgg16"),
        ("timm:vit_base_patch16_224.augreg_in21k", "vit_b_16"),
        ("vgg16_bn", "vgg16_bn"),
        ("resnet18", "resnet18"),
    ],
)
def test_networks_of_the_papers_architecture(name, found):
    assert paper.model_of(name) == found


# --- words


def test_every_metric_has_words():
    metrics = pytest.importorskip("usu.metrics.faithfulness").METRICS
    assert set(METRIC_WORDS) == set(metrics)
    assert len({words.title for words in METRIC_WORDS.values()}) == len(METRIC_WORDS) == 17
    assert {name for name, words in METRIC_WORDS.items() if words.higher_is_better} == {
        "insertion-blur", "insertion-mean", "irof", "irof-felzenszwalb", "irof-grid", "irof-per-segment",
        "monotonicity", "sparseness",
    }  # fmt: skip


def test_tables_load_no_model():
    folder = Path(usu.bench.__file__).parent
    for path in (folder / "tables").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            allowed = (
                "usu.bench",
                "usu.metrics.statistics",
                "usu.sources.registry",
                "usu.arrays.checks",
                "usu.runtime.files",
                "usu.runtime.lazy",
            )
            own = [name for name in names if name.split(".")[0] == "usu"]
            assert all(name.startswith(allowed) for name in own), path.name
            assert not any(
                name.startswith(("usu.metrics.faithfulness", "usu.bench.methods.registry")) for name in own
            )


# --- rows


def test_the_order_of_rows_does_not_matter():
    rows = rows_of({("usu", "road"): [0.1, 0.2, 0.3], ("nearest", "road"): [0.5, 0.4, 0.9]})
    assert layout("honest", table(rows)) == layout("honest", table(rows[::-1]))


def test_columns_may_be_dictionaries_in_chunks():
    rows = rows_of({("usu", "road"): [0.1, 0.2], ("nearest", "road"): [0.5, 0.4]})
    plain = table(rows)
    chunked = pa.concat_tables([table(rows[:1]), table(rows[1:])])
    index = SCHEMA.get_field_index("upsampler")
    encoded = chunked.set_column(index, "upsampler", chunked["upsampler"].dictionary_encode())
    assert layout("table9", encoded) == layout("table9", plain)


def test_a_measurement_twice_is_refused():
    rows = rows_of({("usu", "road"): [0.1]})
    with pytest.raises(ValueError, match=r"found twice: dataset 'imagenet', model 'vgg16'.*image 'image 0'"):
        study_of(table(rows, rows))


def test_a_column_that_is_missing_is_named():
    with pytest.raises(ValueError, match="d1_error missing"):
        layout("table2", SCHEMA.empty_table().drop_columns(["d1_error"]))


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of \('table2'.*got 'table4'"):
        layout("table4", SCHEMA.empty_table())


def test_maps_of_no_source_stand_with_those_of_each():
    study = study_of(
        table(
            rows_of({("usu", "road"): [0.1]}, source="hirescam"),
            rows_of({("usu", "road"): [0.2]}),
            rows_of({("rise", "road"): [0.3]}, source="none"),
            rows_of({("rise", "road"): [0.4]}, source="none", model="resnet50"),
        )
    )
    assert [(one.model, one.source) for one in study.sections] == [
        ("vgg16", "gradcam"),
        ("vgg16", "hirescam"),
        ("resnet50", "none"),
    ]
    for section, value in zip(study.sections, (0.3, 0.3, 0.4), strict=True):
        assert section.of("rise", "road").values.tolist() == [value]
        assert section.of("rise", "forward_passes").values.tolist() == [3]


# --- means


def test_means_by_hand_and_what_is_left_out():
    study = study_of(table(rows_of({("usu", "road"): [1.0, NAN, 3.0, math.inf], ("nearest", "road"): [7]})))
    found = averages(study.sections[0], ("usu", "nearest", "bicubic"), ("road",))
    usu_, nearest, bicubic = (found[name, "road"] for name in ("usu", "nearest", "bicubic"))
    assert (usu_.mean, usu_.n, usu_.left_out, usu_.largest) == (2, 2, 2, 3)
    assert (nearest.mean, nearest.n, nearest.interval) == (7, 1, None)
    assert (bicubic.mean, bicubic.n, bicubic.left_out) == (None, 0, 0)


def test_intervals_are_those_of_the_single_samples():
    random = np.random.default_rng(3)
    samples = {name: random.exponential(size=12).tolist() for name in ("usu", "nearest", "iwmr")}
    samples["iwmr"][4] = NAN
    study = study_of(table(rows_of({(name, "irof"): sample for name, sample in samples.items()})))
    found = averages(study.sections[0], samples, ("irof",))
    for name, sample in samples.items():
        # Images are sorted by name; the mean does not care, the bootstrap draws by position.
        ordered = [sample[index] for index in sorted(range(12), key=lambda index: f"image {index}")]
        expected = statistics.bootstrap_interval([value for value in ordered if not math.isnan(value)])
        assert found[name, "irof"].interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("values", "higher", "marks"),
    [
        ([3, 1, 2], False, [None, "best", "second"]),
        ([3, 1, 2], True, ["best", None, "second"]),
        ([1, 1, 2, 2, 3], False, ["best", "best", "second", "second", None]),
        ([1, None, 1], False, [None, None, None]),
        ([0.1004, 0.2, 0.0996, 0.2001, 0.3], False, ["best", "second", "best", "second", None]),
        ([0.1004, 0.0996], False, [None, None]),
        ([None, 5], False, [None, None]),
    ],
)
def test_marks(values, higher, marks):
    cells = [Number(value, "fixed") for value in values]
    assert [cell.mark for cell in marked(cells, higher)] == marks


# --- comparisons


def test_a_comparison_by_hand():
    # log ratios log(usu / nearest) = 1, 3, of mean 2 and standard deviation √2.
    study = study_of(
        table(
            rows_of(
                {
                    ("usu", "infidelity"): [math.exp(1), math.exp(5), NAN, 0.0, 9.0, None],
                    ("nearest", "infidelity"): [1.0, math.exp(2), 1.0, 1.0, None, 9.0],
                }
            )
        )
    )
    found = compare(study.sections[0], "usu", "nearest", "infidelity")
    assert (found.n, found.left_out) == (2, 2)  # NaN, and the zero that has no logarithm
    assert found.difference == pytest.approx(2)
    assert found.test.cohens_d == pytest.approx(2 / math.sqrt(2))
    both = pairs(study.sections[0], "usu", "nearest", "infidelity")
    assert (len(both.values), both.left_out) == (3, 1)  # a zero is a value where no logarithm is taken


def test_other_metrics_are_compared_by_difference():
    rows = rows_of({("usu", "road"): [0.5, 0.7, 0.4], ("nearest", "road"): [0.4, 0.4, 0.4]})
    found = compare(study_of(table(rows)).sections[0], "usu", "nearest", "road")
    assert found.difference == pytest.approx(0.4 / 3)
    assert found.test.cohens_d == pytest.approx(statistics.cohens_d([0.1, 0.3, 0]))


def test_one_pair_has_a_difference_and_no_test():
    rows = rows_of({("usu", "road"): [0.5], ("nearest", "road"): [0.2]})
    found = corrected([compare(study_of(table(rows)).sections[0], "usu", "nearest", "road")])[0]
    assert (found.n, found.difference, found.test, found.correction) == (1, pytest.approx(0.3), None, None)
    assert found.winner is None


def test_the_winner_follows_the_direction():
    better = {"pixel-flipping": "nearest", "sparseness": "usu"}  # USU's values are the higher ones
    ours, theirs = [1.0 + k / 10 for k in range(8)], [0.1] * 8
    for metric, name in better.items():
        section = study_of(table(rows_of({("usu", metric): ours, ("nearest", metric): theirs}))).sections[0]
        found = corrected([compare(section, "usu", "nearest", metric)])[0]
        assert found.correction.holm == pytest.approx(2 / 2**8)
        assert found.winner == name
        seven = replace(found, correction=replace(found.correction, holm=0.05))
        assert seven.winner is None


def test_the_winner_is_by_the_ranks_that_are_tested():
    ours, theirs = [0.1] * 19 + [100.0], [0.2 + k / 1000 for k in range(20)]
    rows = rows_of({("usu", "deletion-blur"): ours, ("nearest", "deletion-blur"): theirs})
    found = corrected([compare(study_of(table(rows)).sections[0], "usu", "nearest", "deletion-blur")])[0]
    assert found.difference > 0  # by one image; lower is better
    assert found.correction.holm < 0.001
    assert found.winner == "usu"


def test_a_comparison_has_one_corrected_p_value():
    values = {
        (name, metric): [2.0**k for k in range(one, one + 6)]
        for one, name in enumerate(("usu", "nearest", "bilinear"))
        for metric in ("infidelity", "infidelity-minmax")
    }
    rows = table(rows_of(values))
    effects = next(block for block in layout("table7", rows).blocks if "raw" in block.heading)
    honest = next(block for block in layout("honest", rows).blocks if "comparisons, A" in block.heading)
    cells = (
        cell_at(effects, ("ImageNet", "VGG16"), "p, Holm"),
        cell_at(honest, ("USU", "Bilinear"), "p, Holm"),
    )
    assert cells[0].value == cells[1].value == pytest.approx(4 * 2 / 2**6)


# --- layouts


def test_table2():
    rows = [
        *rows_of({("usu", "road"): [0.1, 0.1, 0.1]}, d1=4e-7),
        *rows_of({("iwmr", "road"): [0.1, 0.1]}, d1=4e-7),
        *rows_of({("usu", "road"): [0.1]}, d1=0.5, model="efficientnet-lite0"),
    ]
    sheet = layout("table2", table(rows))
    block = block_of(sheet, "ImageNet, VGG16, Grad-CAM")
    error = cell_at(block, ("USU",), "D1 error")
    assert (error.value, error.n, error.paper) == (pytest.approx(4e-6), 3, 4.95e-7)
    # Relative errors are 4, 8 and 12e-7: the mean is within the tolerance, one image is not.
    assert cell_at(block, ("USU",), "relative: mean").value == pytest.approx(8e-7)
    assert cell_at(block, ("USU",), "relative: largest").value == pytest.approx(12e-7)
    assert cell_at(block, ("USU",), "D1", "measured") == Word("×", 3)
    assert cell_at(block, ("Soft IWMR",), "D1", "measured") == Word("✓", 2)
    assert [cell_at(block, ("Soft IWMR",), f"D{k}", "the paper's verdicts").text for k in (1, 2, 3, 4)] == [
        *"×✓✓✓"
    ]
    missing = cell_at(block, ("Bilinear",), "D1 error")
    assert (missing.value, missing.n, missing.paper) == (None, 0, 0.123)
    assert cell_at(block, ("Bilinear",), "D1", "measured") == Word("–", 0)
    other = block_of(sheet, "ImageNet, EfficientNet-Lite0, Grad-CAM")
    assert cell_at(other, ("USU",), "D1 error").paper is None
    assert [cell_at(other, ("USU",), f"D{k}", "the paper's verdicts").text for k in (1, 2, 3, 4)] == [*"––––"]
    assert any("usu check" in note for note in sheet.notes)


def test_table3():
    rows = [
        *rows_of(
            {
                (name, metric): [value, 3 * value]
                for metric in ("infidelity", "infidelity-minmax", "infidelity-scaled")
                for name, value in {"usu": 1.0, "bilinear": 2.0, "nearest": 4.0}.items()
            }
        ),
        *rows_of({("zero", "infidelity"): [0.5, 0.5]}, source="none"),
        *rows_of({("usu", "infidelity"): [5.0]}, model="efficientnet-lite0"),
    ]
    sheet = layout("table3", table(rows))
    assert len(sheet.blocks) == 3
    raw, minmax, scaled = sheet.blocks
    assert [block.heading.split(",")[0] for block in sheet.blocks] == [
        "Infidelity (raw) ↓",
        "Infidelity (min-max) ↓",
        "Infidelity (best scale β) ↓",
    ]
    place = ("ImageNet", "VGG16")
    ours = cell_at(raw, place, "USU")
    assert (ours.value, ours.n, ours.paper, ours.mark) == (2.0, 2, 1.14e5, "best")
    assert cell_at(raw, place, "Bilinear").mark == "second"
    zero = cell_at(raw, place, "Zero map")
    assert (zero.value, zero.mark, zero.paper) == (0.5, None, None)
    assert cell_at(minmax, place, "USU").paper == 1.14e5
    assert cell_at(minmax, place, "Zero map").n == 0
    assert cell_at(scaled, place, "USU").paper is None
    missing = cell_at(raw, ("CUB-200", "ResNet50"), "Soft IWMR")
    assert (missing.value, missing.n, missing.paper) == (None, 0, 1.41e7)
    one = cell_at(raw, ("ImageNet", "EfficientNet-Lite0"), "USU")
    assert (one.value, one.n, one.interval, one.paper) == (5.0, 1, None, None)
    assert any("min-max divides a peaked map by its peak" in note for note in sheet.notes)


def test_table7_is_positive_where_usu_is_better():
    logs = {"usu": [0.0, 0.0, 0.0], "bilinear": [1.0, 2.0, 3.0]}
    values = {(name, "infidelity"): [math.exp(x) for x in series] for name, series in logs.items()}
    swapped = {(name, "infidelity-minmax"): values[other, "infidelity"] for name, other in
               (("usu", "bilinear"), ("bilinear", "usu"))}  # fmt: skip
    sheet = layout("table7", table(rows_of(values), rows_of(swapped)))
    raw, minmax, scaled = sheet.blocks
    found = cell_at(raw, ("ImageNet", "VGG16"), "d_z")
    assert (found.value, found.n, found.paper) == (pytest.approx(2.0), 3, 1.59)
    assert cell_at(raw, ("ImageNet", "VGG16"), "log(bilinear / USU)").value == pytest.approx(2.0)
    worse = cell_at(minmax, ("ImageNet", "VGG16"), "d_z")
    assert (worse.value, worse.paper) == (pytest.approx(-2.0), 1.59)
    # Two tests, p = 2 / 2³ each.
    assert cell_at(raw, ("ImageNet", "VGG16"), "p, Holm").value == pytest.approx(0.5)
    missing = cell_at(scaled, ("CUB-200", "ViT-B-16"), "d_z")
    assert (missing.value, missing.n, missing.paper) == (None, 0, None)


def test_table8_by_hand():
    def of(source, model, before, after):
        values = {("bilinear", "infidelity"): before, ("usu", "infidelity"): after}
        return rows_of(values, source=source, model=model)

    rows = [
        # bilinear's means 10 and 30, USU's 1 and 3: factor 20 / 2. The third image has no bilinear value.
        *of("gradcam", "vgg16", [5.0, 15.0, NAN, 7.0], [0.5, 1.5, 99.0, 7.0]),
        *of("gradcam", "resnet50", [30.0], [3.0]),
        # Neither the fourth image nor the third network is of both sources, so that they count for none.
        *of("gradcam", "vit_b_16", [1e6], [1.0]),
        *of("hirescam", "vgg16", [40.0, 40.0, 40.0], [2.0, 2.0, 2.0]),
        *of("hirescam", "resnet50", [40.0], [2.0]),
    ]
    sheet = layout("table8", table(rows))
    assert [block.heading for block in sheet.blocks] == [
        "Infidelity (raw) ↓: bilinear → USU",
        "Infidelity (raw) ↓: bilinear → Soft IWMR",
    ]
    block = sheet.blocks[0]
    before = cell_at(block, ("Grad-CAM",), "Bilinear", "ImageNet")
    assert (before.value, before.n, before.left_out, before.paper) == (20, 3, 1, 1384)
    after = cell_at(block, ("Grad-CAM",), "USU", "ImageNet")
    assert (after.value, after.paper) == (2, 3.15)
    assert cell_at(block, ("Grad-CAM",), "factor", "ImageNet").value == 10
    assert cell_at(block, ("HiResCAM",), "factor", "ImageNet").value == 20
    spread = {row.labels[0]: row.cells[2] for row in block.rows if row.group == "over sources"}
    assert (spread["Mean factor"].value, spread["Mean factor"].paper) == (15, 415)
    assert (spread["Standard deviation"].value, spread["Standard deviation"].paper) == (5, 29)
    assert spread["CV (%)"].value == pytest.approx(100 / 3)
    assert spread["Number of sources"].value == 2
    hires = cell_at(block, ("HiResCAM",), "Bilinear", "ImageNet")
    assert (hires.value, hires.n, hires.left_out) == (40, 3, 0)
    assert block.notes[1] == "Networks, ImageNet: VGG16, ResNet50."
    iwmr = cell_at(sheet.blocks[1], ("Grad-CAM",), "Soft IWMR", "ImageNet")
    assert (iwmr.value, iwmr.n, iwmr.paper) == (None, 0, 2.22)


@pytest.mark.parametrize("name", ["table3", "table7", "table8", "table9"])
def test_tables_of_infidelity_say_which_temperature(name):
    rows = rows_of({("usu", "infidelity"): [1.0], ("bilinear", "infidelity"): [2.0]})
    rows[0]["upsampler_settings"] = '{"temperature": 0.25}'
    notes = layout(name, table(rows)).notes
    assert "USU, Soft IWMR and the hybrid share by ε = 0.25; the paper's is 0.1." in notes


def test_table8_of_one_source_has_no_spread():
    values = {("bilinear", "infidelity-scaled"): [4.0], ("usu", "infidelity-scaled"): [2.0]}
    block = layout("table8", table(rows_of(values, dataset="folder"))).blocks[0]
    index = next(i for i, column in enumerate(block.columns) if column.group == "A folder of photographs") + 2
    spread = {row.labels[0]: row.cells[index].value for row in block.rows if row.group == "over sources"}
    expected = {"Mean factor": 2, "Standard deviation": None, "CV (%)": None, "Number of sources": 1}
    assert spread == expected


def test_tables_9_and_10():
    def values(name, scale):
        return {(name, metric): [scale, 3 * scale] for metric in METRIC_WORDS}

    rows = [
        row
        for dataset in ("imagenet", "cub200", "folder")
        for name, scale in (("usu", 1.0), ("hybrid", 2.0))
        for row in rows_of(values(name, scale), dataset=dataset)
    ]
    nine, ten = layout("table9", table(rows)), layout("table10", table(rows))
    assert [block.heading for block in nine.blocks] == [
        "ImageNet, Grad-CAM",
        "CIFAR-10, Grad-CAM",
        "A folder of photographs, Grad-CAM",
    ]
    assert [block.heading for block in ten.blocks] == ["CUB-200, Grad-CAM"]
    assert all(column.title.endswith((" ↑", " ↓")) for block in nine.blocks for column in block.columns)
    place = ("VGG16", "USU")
    assert cell_at(nine.blocks[0], place, "ROAD ↓").paper == 0.23
    assert cell_at(ten.blocks[0], place, "ROAD ↓").paper == 0.26
    assert cell_at(nine.blocks[2], place, "ROAD ↓").paper is None
    assert cell_at(nine.blocks[0], place, "IROF (per segment) ↑").paper == 0.61
    assert cell_at(nine.blocks[0], place, "IROF (area) ↑").paper is None
    for title in ("Infidelity (raw) ↓", "Infidelity (min-max) ↓"):
        assert cell_at(nine.blocks[0], ("VGG16", "USU-Hybrid"), title).paper == 1.13e5
    assert cell_at(nine.blocks[0], place, "ROAD ↓").mark == "best"
    assert cell_at(nine.blocks[0], place, "Sparseness ↑").mark == "second"
    assert (cell_at(nine.blocks[0], place, "ROAD ↓").value, cell_at(nine.blocks[0], place, "ROAD ↓").n) == (
        2,
        2,
    )
    missing = cell_at(nine.blocks[1], ("ViT-B-16", "Nearest"), "Sparseness ↑")
    assert (missing.value, missing.n, missing.paper) == (None, 0, 0.26)


def test_honest_corrects_for_all_tests_of_the_sheet():
    # Wilcoxon's p is 2 / 2⁵ where five differences have one sign, and 10 / 2⁵ for ranks 1, 2, -3, 4, 5.
    one, other = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, -3.0, 4.0, 5.0]
    still = [0.0] * 5
    rows = [
        *rows_of({("usu", "road"): one, ("nearest", "road"): still}),
        *rows_of({("usu", "irof-grid"): other, ("nearest", "irof-grid"): still}),
        *rows_of({("usu", "road"): still, ("bilinear", "road"): still}, model="resnet50"),
    ]
    sheet = layout("honest", table(rows))
    assert any("all 3 tests of this sheet" in note for note in sheet.notes)
    first = block_of(sheet, "ImageNet, VGG16, Grad-CAM: paired comparisons, A: as the paper measures")
    second = next(b for b in sheet.blocks if "VGG16" in b.heading and "comparisons, B" in b.heading)
    third = next(b for b in sheet.blocks if "ResNet50" in b.heading and "comparisons, A" in b.heading)
    pair = ("USU", "Nearest")
    assert cell_at(first, pair, "p, Wilcoxon").value == pytest.approx(2 / 32)
    assert cell_at(first, pair, "p, Holm").value == pytest.approx(3 * 2 / 32)
    assert cell_at(second, pair, "p, Wilcoxon").value == pytest.approx(10 / 32)
    assert cell_at(second, pair, "p, Holm").value == pytest.approx(2 * 10 / 32)
    assert cell_at(second, pair, "p, Bonferroni").value == pytest.approx(30 / 32)
    assert cell_at(first, pair, "d_z").value == pytest.approx(3 / math.sqrt(2.5))
    assert cell_at(second, pair, "rank-biserial").value == pytest.approx((12 - 3) / 15)
    null = ("USU", "Bilinear")
    assert [cell_at(third, null, title).value for title in ("Difference", "d_z", "p, Holm")] == [0, 0, 1]
    assert cell_at(third, null, "better") == Word("neither", 5)
    assert cell_at(third, pair, "better") == Word("–", 0)
    assert cell_at(first, ("Soft IWMR", "Nearest"), "Difference").n == 0


def test_honest_tests_maps_of_no_source_once():
    ours, theirs = [1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5
    rows = [
        *rows_of({("complete", "road"): ours, ("shap-partition", "road"): theirs}, source="none"),
        *(
            row
            for source in ("gradcam", "hirescam")
            for row in rows_of({("usu", "road"): ours}, source=source)
        ),
        *rows_of({("random-segments", "road"): theirs}),
    ]
    sheet = layout("honest", table(rows))
    assert any("all 2 tests of this sheet" in note for note in sheet.notes)
    first, second = (block for block in sheet.blocks if "paired comparisons" in block.heading)
    assert cell_at(first, ("USU-Complete", "SHAP, partition"), "p, Wilcoxon").value == pytest.approx(2 / 32)
    assert cell_at(first, ("USU", "USU, random segments"), "p, Holm").value == pytest.approx(4 / 32)
    assert {row.labels[1] for row in second.rows} == {"Nearest", "Bilinear"}


def test_honest_keeps_the_blocks_apart_and_shows_every_contestant():
    values = {(name, metric): [0.2, 0.4] for name in CONTESTANT_WORDS for metric in ("road", "deletion-blur")}
    rows = [
        *rows_of(values, passes=7, d1=0.25),
        *rows_of({("mine", "road"): [0.5]}),
        *rows_of({("usu", "of-tomorrow"): [0.5]}),
    ]
    sheet = layout("honest", table(rows))
    means = sheet.blocks[0]
    groups = [column.group for column in means.columns]
    assert groups == ["The map"] * 3 + [
        "A: as the paper measures"] * 8 + ["B: scale-fair, other segmenters, whole pixels"] * 9  # fmt: skip
    assert {row.group for row in means.rows} == {"Upsamplers", "Controls", "Peers", "Others"}
    assert [row.labels[0] for row in means.rows] == [
        *(words.title for words in CONTESTANT_WORDS.values()),
        "mine",
    ]
    assert cell_at(means, ("RISE",), "Forward passes").value == 7
    assert cell_at(means, ("RISE",), "Total mass").value == 2.5
    assert cell_at(means, ("RISE",), "D1 error, relative").value == pytest.approx(0.375)
    assert cell_at(means, ("RISE",), "ROAD ↓").value == pytest.approx(0.3)
    assert cell_at(means, ("RISE",), "Sparseness ↑").n == 0
    assert cell_at(means, ("mine",), "ROAD ↓").n == 1
    assert any("not shown: of-tomorrow" in note for note in sheet.notes)
    assert any(note == "Weights of vgg16: cafe" for note in sheet.notes)


def test_what_is_not_measured_says_so_once():
    rows = table(rows_of({("usu", "infidelity"): [1.0, 3.0], ("bilinear", "infidelity"): [2.0, 4.0]}))
    three, ten = layout("table3", rows), layout("table10", rows)
    assert MARKS in three.notes
    raw, minmax, scaled = three.blocks  # the paper's figures stand beside the first two
    assert not {THEIRS, UNMEASURED} & set(raw.notes)
    assert (minmax.notes[0], scaled.notes[0]) == (THEIRS, UNMEASURED)
    assert ten.notes[0] == THEIRS
    assert MARKS not in ten.notes
    assert not any({THEIRS, UNMEASURED} & set(block.notes) for block in ten.blocks)
    assert layout("honest", SCHEMA.empty_table()).notes[0] == UNMEASURED


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_rows_make_a_table_of_dashes(name):
    sheet = layout(name, SCHEMA.empty_table())
    cells = [cell for block in sheet.blocks for row in block.rows for cell in row.cells]
    measured = [cell for cell in cells if cell.n is not None]
    assert all(cell.n == 0 for cell in measured)
    assert all(cell.value is None for cell in measured if isinstance(cell, Number))
