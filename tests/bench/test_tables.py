"""Tables from rows of results with answers worked out by hand."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import usu.bench
from usu.bench.results.folder import Results
from usu.bench.results.schema import SCHEMA
from usu.bench.tables import frame, published
from usu.bench.tables.frame import study_of
from usu.bench.tables.labels import SCALINGS, TITLES
from usu.bench.tables.layouts import LAYOUTS, MARKS, UNMEASURED, layout, marks
from usu.bench.tables.published import FIGURES
from usu.bench.tables.registry import FORMATS
from usu.metrics import statistics
from usu.metrics.faithfulness.labels import LABELS

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


def cells_at(block, labels, column, group=None):
    """Return the cells at a place, one or none."""
    cells = block.cells
    at = (cells[[*block.labels]] == list(labels)).all(axis=1) & (cells["column"] == column)
    found = cells[at & (cells["group"] == group if group is not None else True)]
    assert len(found) <= 1
    return found


def cell_at(block, labels, column, group=None):
    found = cells_at(block, labels, column, group)
    assert len(found) == 1, (labels, column)
    return found.iloc[0]


def measured(block, labels, column, group=None):
    return len(cells_at(block, labels, column, group)) == 1


def comparison(rows, challenger, reference, metric):
    every = study_of(rows).comparisons
    names = {"challenger": challenger, "reference": reference, "measure": metric}
    found = every[(every[[*names]].astype(str) == list(names.values())).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


# --- the paper's figures


def test_printed_factors_follow_from_the_printed_infidelities():
    # The paper rounds its infidelities to three digits, so that factors come back to about 1 %.
    figures = FIGURES["table8"]
    for at, mean in figures.items():
        if at.measure != "factor mean":
            continue
        before, after = (
            [
                value
                for own, value in figures.items()
                if (own.dataset, own.contestant, own.measure) == (at.dataset, name, "infidelity")
            ]
            for name in ("bilinear", at.contestant)
        )
        factors = np.divide(before, after)
        spread, percent = (
            figures[at._replace(measure=f"factor {name}")] for name in ("deviation", "variation")
        )
        assert len(factors) == 7
        assert np.mean(factors) == pytest.approx(mean, rel=2e-3)
        assert np.std(factors) == pytest.approx(spread, rel=0.02)
        assert 100 * np.std(factors) / np.mean(factors) == pytest.approx(percent, abs=0.15)


def test_tables_3_and_9_print_the_same_interpolations():
    full = FIGURES["table9"] | FIGURES["table10"]
    same = [at for at in FIGURES["table3"] if at.contestant in ("bilinear", "bicubic", "lanczos")]
    assert len(same) == 27
    for at in same:
        assert FIGURES["table3"][at] == full[at]


def test_every_figure_of_the_paper_has_a_place():
    networks = {(at.dataset, at.model) for at in FIGURES["table3"]}
    assert len(networks) == 9
    full = FIGURES["table9"] | FIGURES["table10"]
    assert (
        {(at.dataset, at.model) for at in FIGURES["table7"]}
        == {(at.dataset, at.model) for at in full}
        == networks
    )
    counts = {name: len(figures) for name, figures in FIGURES.items()}
    assert counts == {"table2": 25, "table3": 45, "table7": 9, "table8": 81, "table9": 216, "table10": 108}
    for figures in FIGURES.values():
        for at in figures:
            assert at.dataset in TITLES["dataset"]
            assert {at.model} - {""} <= set(TITLES["model"])
            assert {at.source} - {""} <= set(TITLES["source"])
            assert at.contestant in TITLES["contestant"]
    assert {at.measure for at in full} <= set(LABELS)


def test_table_2_of_the_paper():
    assert published.desiderata() == {
        "bilinear": (("no", "no", "no", "no"), 1.23e-1),
        "bicubic": (("no", "no", "no", "no"), 8.65e-1),
        "lanczos": (("no", "no", "no", "no"), 2.14e-2),
        "usu": (("yes", "yes", "yes", "yes"), 4.95e-7),
        "iwmr": (("no", "yes", "yes", "yes"), 3.81e-4),
    }


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
    assert published.model_of(name) == found


# --- words


def test_every_metric_has_words():
    metrics = pytest.importorskip("usu.metrics.faithfulness").METRICS
    assert set(LABELS) == set(metrics)
    assert len({words.title for words in LABELS.values()}) == len(LABELS) == 21
    assert {name for name, words in LABELS.items() if words.higher_is_better} == {
        "insertion-blur", "insertion-blur-smooth", "insertion-mean", "insertion-mean-smooth",
        "irof", "irof-felzenszwalb", "irof-grid",
        "irof-per-segment", "monotonicity", "sparseness",
    }  # fmt: skip
    assert set(SCALINGS) == {name for name in LABELS if name.startswith("infidelity")}


@pytest.mark.parametrize("kind", TITLES)
def test_no_two_names_are_called_the_same(kind):
    assert len(set(TITLES[kind].values())) == len(TITLES[kind])


def test_tables_import_results_and_statistics_alone():
    folder = Path(usu.bench.__file__).parent
    paths = list((folder / "tables").glob("*.py"))
    assert len(paths) > 5
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            allowed = (
                "usu.bench.results",
                "usu.bench.tables",
                "usu.metrics.statistics",
                "usu.metrics.faithfulness.labels",
                "usu.sources.registry",
                "usu.arrays.checks",
                "usu.runtime.files",
                "usu.runtime.lazy",
            )
            own = [name for name in names if name.split(".")[0] == "usu"]
            assert all(name.startswith(allowed) for name in own), path.name


def test_tables_load_no_torch(tmp_path):
    values = {(name, metric): [1.0, 2.5, 4.0] for name in ("usu", "bilinear", "zero") for metric in LABELS}
    with Results.open(tmp_path, {"seed": 0}) as results:
        results.add(table(rows_of(values)).to_pylist())
    program = f"""
import sys
from usu.bench.results.folder import read_rows
from usu.bench.tables.frame import study_of
from usu.bench.tables.layouts import layout
from usu.bench.tables.registry import LAYOUTS
from usu.bench.tables.registry import FORMATS
rows = read_rows({str(tmp_path)!r})
study = study_of(rows)
for name in LAYOUTS:
    sheet = layout(name, study)
    for form in FORMATS.values():
        assert form(sheet)
print(*sorted({{"torch", "torchvision", "skimage", "usu.models", "pandas"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["pandas"], done.stderr


# --- rows


def test_the_order_of_rows_does_not_matter():
    rows = rows_of({("usu", "road"): [0.1, 0.2, 0.3], ("nearest", "road"): [0.5, 0.4, 0.9]})
    one, other = (FORMATS["json"](layout("honest", table(given))) for given in (rows, rows[::-1]))
    assert one == other


def test_columns_may_be_dictionaries_in_chunks():
    rows = rows_of({("usu", "road"): [0.1, 0.2], ("nearest", "road"): [0.5, 0.4]})
    plain = table(rows)
    chunked = pa.concat_tables([table(rows[:1]), table(rows[1:])])
    index = SCHEMA.get_field_index("upsampler")
    encoded = chunked.set_column(index, "upsampler", chunked["upsampler"].dictionary_encode())
    assert FORMATS["json"](layout("table9", encoded)) == FORMATS["json"](layout("table9", plain))


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
    sections = [("vgg16", "gradcam"), ("vgg16", "hirescam"), ("resnet50", "none")]
    assert [*zip(study.sections.model, study.sections.source, strict=True)] == sections
    means = study.averages(["rise"], ["road", "forward_passes"])
    for (model, source), value in zip(sections, (0.3, 0.3, 0.4), strict=True):
        here = means[(means.model == model) & (means.source == source)].set_index("measure")["mean"]
        assert here.to_dict() == {"road": value, "forward_passes": 3}
    assert len(means) == 6


# --- means


def test_means_by_hand_and_what_is_left_out():
    study = study_of(table(rows_of({("usu", "road"): [1.0, NAN, 3.0, math.inf], ("nearest", "road"): [7]})))
    found = study.averages(["usu", "nearest", "bicubic"], ["road"]).set_index("contestant")
    assert [*found.index] == ["nearest", "usu"]
    usu_, nearest = found.loc["usu"], found.loc["nearest"]
    assert (usu_["mean"], usu_.n, usu_.left_out, usu_.largest) == (2, 2, 2, 3)
    assert (nearest["mean"], nearest.n) == (7, 1)
    assert np.isnan([nearest.low, nearest.high]).all()


def test_a_map_without_a_finite_value_is_counted_and_not_shown():
    rows = table(rows_of({("usu", "road"): [NAN, NAN], ("nearest", "road"): [1.0, 2.0]}))
    found = study_of(rows).averages(["usu"], ["road"]).iloc[0]
    assert (found.n, found.left_out) == (0, 2)
    assert np.isnan(found["mean"])
    block = layout("table9", rows).blocks[0]
    assert measured(block, ("VGG16", "Nearest"), "ROAD ↓")
    assert not measured(block, ("VGG16", "USU"), "ROAD ↓")


def test_intervals_are_those_of_the_single_samples():
    random = np.random.default_rng(3)
    samples = {name: random.exponential(size=12).tolist() for name in ("usu", "nearest", "iwmr")}
    samples["iwmr"][4] = NAN
    study = study_of(table(rows_of({(name, "irof"): sample for name, sample in samples.items()})))
    found = study.averages(samples, ["irof"]).set_index("contestant")
    for name, sample in samples.items():
        # Images are sorted by name; the mean does not care, the bootstrap draws by position.
        ordered = [sample[index] for index in sorted(range(12), key=lambda index: f"image {index}")]
        expected = statistics.bootstrap_interval([value for value in ordered if not math.isnan(value)])
        assert (found.low[name], found.high[name]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("values", "measure", "expected"),
    [
        ([3, 1, 2], "road", ["", "best", "second"]),
        ([3, 1, 2], "irof", ["best", "", "second"]),
        ([1, 1, 2, 2, 3], "road", ["best", "best", "second", "second", ""]),
        ([1, 1], "road", ["", ""]),
        ([0.1004, 0.2, 0.0996, 0.2001, 0.3], "road", ["best", "second", "best", "second", ""]),
        ([0.1004, 0.0996], "road", ["", ""]),
        ([5], "road", [""]),
        ([], "road", []),
    ],
)
def test_marks(values, measure, expected):
    assert marks(values, measure) == expected


# --- comparisons


def test_a_comparison_by_hand():
    # log ratios log(usu / bilinear) = 1, 3, of mean 2 and standard deviation √2.
    rows = table(
        rows_of(
            {
                ("usu", "infidelity"): [math.exp(1), math.exp(5), NAN, 0.0, 9.0, None],
                ("bilinear", "infidelity"): [1.0, math.exp(2), 1.0, 1.0, None, 9.0],
            }
        )
    )
    found = comparison(rows, "usu", "bilinear", "infidelity")
    assert (found.n, found.left_out) == (2, 2)  # NaN, and the zero that has no logarithm
    assert found.difference == pytest.approx(2)
    assert found.cohens_d == pytest.approx(2 / math.sqrt(2))
    change = study_of(rows).changes("infidelity", "usu").iloc[0]
    assert (change.n, change.left_out) == (3, 1)  # a zero is a value where no logarithm is taken
    assert change.before == pytest.approx((1 + math.exp(2) + 1) / 3)


def test_other_metrics_are_compared_by_difference():
    rows = rows_of({("usu", "road"): [0.5, 0.7, 0.4], ("nearest", "road"): [0.4, 0.4, 0.4]})
    found = comparison(table(rows), "usu", "nearest", "road")
    assert found.difference == pytest.approx(0.4 / 3)
    assert found.cohens_d == pytest.approx(statistics.cohens_d([0.1, 0.3, 0]))


def test_one_pair_has_a_difference_and_no_test():
    rows = table(rows_of({("usu", "road"): [0.5], ("nearest", "road"): [0.2]}))
    found = comparison(rows, "usu", "nearest", "road")
    assert (found.n, found.difference, found.better) == (1, pytest.approx(0.3), "")
    assert np.isnan([found.p_value, found.holm, found.cohens_d, found.low]).all()
    block = next(block for block in layout("honest", rows).blocks if "comparisons" in block.heading)
    pair = ("ROAD ↓", "USU", "Nearest")
    assert measured(block, pair, "Difference")
    assert not measured(block, pair, "p, Holm")
    assert not measured(block, pair, "better")


def test_the_winner_follows_the_direction(monkeypatch):
    better = {"pixel-flipping": "nearest", "sparseness": "usu"}  # USU's values are the higher ones
    ours, theirs = [1.0 + k / 10 for k in range(8)], [0.1] * 8
    for metric, name in better.items():
        rows = table(rows_of({("usu", metric): ours, ("nearest", metric): theirs}))
        found = comparison(rows, "usu", "nearest", metric)
        assert found.holm == pytest.approx(2 / 2**8)
        assert found.better == name
    for p_value, expected in ((0.05, ""), (0.0499, "usu")):
        only = statistics.Correction(p_value, p_value, p_value, 1)
        monkeypatch.setattr(frame, "correct", lambda values, only=only: [only for _ in values])
        assert comparison(rows, "usu", "nearest", metric).better == expected


def test_the_winner_is_by_the_ranks_that_are_tested():
    ours, theirs = [0.1] * 19 + [100.0], [0.2 + k / 1000 for k in range(20)]
    rows = rows_of({("usu", "deletion-blur"): ours, ("nearest", "deletion-blur"): theirs})
    found = comparison(table(rows), "usu", "nearest", "deletion-blur")
    assert found.difference > 0  # by one image; lower is better
    assert found.holm < 0.001
    assert found.better == "usu"


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
        cell_at(honest, ("Infidelity (raw) ↓, log ratio", "USU", "Bilinear"), "p, Holm"),
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
    ours, theirs = (
        cell_at(block, ("USU",), "D1", "measured"),
        cell_at(block, ("Soft IWMR",), "D1", "measured"),
    )
    assert (ours.text, ours.n, theirs.text, theirs.n) == ("×", 3, "✓", 2)
    verdicts = [cell_at(block, ("Soft IWMR",), f"D{k}", "the paper's verdicts") for k in (1, 2, 3, 4)]
    assert [cell.text for cell in verdicts] == [*"×✓✓✓"]
    assert not (block.cells["Upsampler"] == "Bilinear").any()  # the paper has it, and we measured nothing
    other = block_of(sheet, "ImageNet, EfficientNet-Lite0, Grad-CAM")
    assert math.isnan(cell_at(other, ("USU",), "D1 error").paper)
    assert not (other.cells["group"] == "the paper's verdicts").any()
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
    assert (zero.value, zero.mark) == (0.5, "")
    assert math.isnan(zero.paper)
    assert cell_at(minmax, place, "USU").paper == 1.14e5
    assert not measured(minmax, place, "Zero map")
    assert math.isnan(cell_at(scaled, place, "USU").paper)
    assert not measured(raw, ("CUB-200", "ResNet50"), "Soft IWMR")
    one = cell_at(raw, ("ImageNet", "EfficientNet-Lite0"), "USU")
    assert (one.value, one.n) == (5.0, 1)
    assert np.isnan([one.low, one.paper]).all()
    assert any("min-max divides a peaked map by its peak" in note for note in sheet.notes)


def test_table7_is_positive_where_usu_is_better():
    logs = {"usu": [0.0, 0.0, 0.0], "bilinear": [1.0, 2.0, 3.0]}
    values = {(name, "infidelity"): [math.exp(x) for x in series] for name, series in logs.items()}
    swapped = {(name, "infidelity-minmax"): values[other, "infidelity"] for name, other in
               (("usu", "bilinear"), ("bilinear", "usu"))}  # fmt: skip
    sheet = layout("table7", table(rows_of(values), rows_of(swapped)))
    raw, minmax = sheet.blocks
    found = cell_at(raw, ("ImageNet", "VGG16"), "d_z")
    assert (found.value, found.n, found.paper) == (pytest.approx(2.0), 3, 1.59)
    difference = cell_at(raw, ("ImageNet", "VGG16"), "log(bilinear / USU)")
    expected = statistics.bootstrap_interval([1.0, 2.0, 3.0])
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (2.0, expected.low, expected.high)
    )
    worse = cell_at(minmax, ("ImageNet", "VGG16"), "d_z")
    assert (worse.value, worse.paper) == (pytest.approx(-2.0), 1.59)
    # Two tests, p = 2 / 2³ each.
    assert cell_at(raw, ("ImageNet", "VGG16"), "p, Holm").value == pytest.approx(0.5)
    assert not measured(raw, ("CUB-200", "ViT-B-16"), "d_z")


def test_table8_by_hand():
    def of(source, model, before, after):
        values = {("bilinear", "infidelity"): before, ("usu", "infidelity"): after}
        return rows_of(values, source=source, model=model)

    rows = [
        # bilinear's means 10 and 30, USU's 1 and 3: factor 20 / 2. The third image has no bilinear value.
        *of("gradcam", "vgg16", [5.0, 15.0, NAN, 7.0], [0.5, 1.5, 99.0, 7.0]),
        *of("gradcam", "resnet50", [30.0], [3.0]),
        # Neither the fourth image nor the third network is of both sources, so that they count for none.
        *of("gradcam", "vit_b_16", [1e6, NAN], [1.0, 1.0]),
        *of("hirescam", "vgg16", [40.0, 40.0, 40.0], [2.0, 2.0, 2.0]),
        *of("hirescam", "resnet50", [40.0], [2.0]),
    ]
    sheet = layout("table8", table(rows))
    assert [block.heading for block in sheet.blocks] == ["Infidelity (raw) ↓: bilinear → USU"]
    block = sheet.blocks[0]
    before = cell_at(block, ("Grad-CAM",), "Bilinear", "ImageNet")
    assert (before.value, before.n, before.left_out, before.paper) == (20, 3, 1, 1384)
    after = cell_at(block, ("Grad-CAM",), "USU", "ImageNet")
    assert (after.value, after.paper) == (2, 3.15)
    assert cell_at(block, ("Grad-CAM",), "factor", "ImageNet").value == 10
    assert cell_at(block, ("HiResCAM",), "factor", "ImageNet").value == 20
    mean = cell_at(block, ("Mean factor",), "factor")
    spread = cell_at(block, ("Standard deviation",), "factor")
    assert (mean.value, mean.paper, spread.value, spread.paper) == (15, 415, 5, 29)
    assert cell_at(block, ("CV (%)",), "factor").value == pytest.approx(100 / 3)
    assert cell_at(block, ("Number of sources",), "factor").value == 2
    hires = cell_at(block, ("HiResCAM",), "Bilinear", "ImageNet")
    assert (hires.value, hires.n, hires.left_out) == (40, 3, 0)
    assert block.notes[1] == "Networks, ImageNet: VGG16, ResNet50."


@pytest.mark.parametrize("name", ["table3", "table7", "table8", "table9"])
def test_tables_of_infidelity_say_which_temperature(name):
    rows = rows_of({("usu", "infidelity"): [1.0], ("bilinear", "infidelity"): [2.0]})
    rows[0]["upsampler_settings"] = '{"temperature": 0.25}'
    notes = layout(name, table(rows)).notes
    assert "USU, Soft IWMR and the hybrid share by ε = 0.25; the paper's is 0.1." in notes


def test_table8_of_one_source_has_no_spread():
    values = {("bilinear", "infidelity-scaled"): [4.0], ("usu", "infidelity-scaled"): [2.0]}
    block = layout("table8", table(rows_of(values, dataset="folder"))).blocks[0]
    factors = block.cells[block.cells["column"] == "factor"].set_index("Source").value.to_dict()
    assert factors == {"Grad-CAM": 2, "Mean factor": 2, "Number of sources": 1}


def test_tables_9_and_10():
    def values(name, scale):
        return {(name, metric): [scale, 3 * scale] for metric in LABELS}

    rows = [
        row
        for dataset in ("imagenet", "cub200", "folder")
        for name, scale in (("usu", 1.0), ("hybrid", 2.0))
        for row in rows_of(values(name, scale), dataset=dataset)
    ]
    nine, ten = layout("table9", table(rows)), layout("table10", table(rows))
    assert [block.heading for block in nine.blocks] == [
        "ImageNet, Grad-CAM",
        "A folder of photographs, Grad-CAM",
    ]
    assert [block.heading for block in ten.blocks] == ["CUB-200, Grad-CAM"]
    assert all(title.endswith((" ↑", " ↓")) for block in nine.blocks for _, title in block.columns)
    place = ("VGG16", "USU")
    assert cell_at(nine.blocks[0], place, "ROAD ↓").paper == 0.23
    assert cell_at(ten.blocks[0], place, "ROAD ↓").paper == 0.26
    assert math.isnan(cell_at(nine.blocks[1], place, "ROAD ↓").paper)
    assert cell_at(nine.blocks[0], place, "IROF (per segment) ↑").paper == 0.61
    assert math.isnan(cell_at(nine.blocks[0], place, "IROF (area) ↑").paper)
    for title in ("Infidelity (raw) ↓", "Infidelity (min-max) ↓"):
        assert cell_at(nine.blocks[0], ("VGG16", "USU-Hybrid"), title).paper == 1.13e5
    road = cell_at(nine.blocks[0], place, "ROAD ↓")
    assert (road.value, road.n, road.mark) == (2, 2, "best")
    assert cell_at(nine.blocks[0], place, "Sparseness ↑").mark == "second"
    assert not (nine.blocks[0].cells["Upsampler"] == "Nearest").any()


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
    road, grid = ("ROAD ↓", "USU", "Nearest"), ("IROF, grid of 28 px ↑", "USU", "Nearest")
    assert cell_at(first, road, "p, Wilcoxon").value == pytest.approx(2 / 32)
    assert cell_at(first, road, "p, Holm").value == pytest.approx(3 * 2 / 32)
    assert cell_at(second, grid, "p, Wilcoxon").value == pytest.approx(10 / 32)
    assert cell_at(second, grid, "p, Holm").value == pytest.approx(2 * 10 / 32)
    assert cell_at(second, grid, "p, Bonferroni").value == pytest.approx(30 / 32)
    assert cell_at(first, road, "d_z").value == pytest.approx(3 / math.sqrt(2.5))
    assert cell_at(second, grid, "rank-biserial").value == pytest.approx((12 - 3) / 15)
    null = ("ROAD ↓", "USU", "Bilinear")
    assert [cell_at(third, null, title).value for title in ("Difference", "d_z", "p, Holm")] == [0, 0, 1]
    better = cell_at(third, null, "better")
    assert (better.text, better.n) == ("neither", 5)
    assert len(third.cells) == 7  # of one comparison, and none of what was not measured
    assert not (first.cells["Contestant"] == "Soft IWMR").any()


def test_honest_tests_maps_of_no_source_once():
    ours, theirs = [1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5
    rows = [
        *rows_of({("complete", "road"): ours, ("shap-partition", "road"): theirs}, source="none"),
        *(
            row
            for source in ("gradcam", "hirescam")
            for row in rows_of({("usu", "road"): ours, ("nearest", "road"): theirs}, source=source)
        ),
        *rows_of({("random-segments", "road"): theirs}),
    ]
    sheet = layout("honest", table(rows))
    # Two of USU and nearest, two of the complete map and nearest, one each of the others.
    assert any("all 6 tests of this sheet" in note for note in sheet.notes)
    first, second = (block for block in sheet.blocks if "paired comparisons" in block.heading)
    complete = ("ROAD ↓", "USU-Complete", "SHAP, partition")
    assert cell_at(first, complete, "p, Wilcoxon").value == pytest.approx(2 / 32)
    assert cell_at(first, ("ROAD ↓", "USU", "USU, random segments"), "p, Holm").value == pytest.approx(
        12 / 32
    )
    assert set(second.cells["against"]) == {"Nearest"}


def test_honest_keeps_the_blocks_apart_and_shows_every_contestant():
    values = {
        (name, metric): [0.2, 0.4] for name in TITLES["contestant"] for metric in ("road", "deletion-blur")
    }
    rows = [
        *rows_of(values, passes=7, d1=0.25),
        *rows_of({("mine", "road"): [0.5]}),
        *rows_of({("usu", "of-tomorrow"): [0.5]}),
    ]
    sheet = layout("honest", table(rows))
    means = sheet.blocks[0]
    groups = [group for group, _ in means.columns]
    assert groups == ["The map"] * 3 + [
        "A: as the paper measures"] * 8 + ["B: scale-fair, other segmenters, whole pixels"] * 13  # fmt: skip
    rows = means.cells[["Group", "Contestant"]].drop_duplicates()
    assert [*rows.Group.unique()] == ["Upsamplers", "Controls", "Peers", "Others"]
    assert [*rows.Contestant] == [*TITLES["contestant"].values(), "mine"]
    rise = ("Peers", "RISE")
    assert cell_at(means, rise, "Forward passes").value == 7
    assert cell_at(means, rise, "Total mass").value == 2.5
    assert cell_at(means, rise, "D1 error, relative").value == pytest.approx(0.375)
    assert cell_at(means, rise, "ROAD ↓").value == pytest.approx(0.3)
    assert not measured(means, rise, "Sparseness ↑")
    assert cell_at(means, ("Others", "mine"), "ROAD ↓").n == 1
    assert any("not shown: of-tomorrow" in note for note in sheet.notes)
    assert any(note == "Weights of vgg16: cafe" for note in sheet.notes)


def test_what_is_not_measured_is_not_shown():
    rows = table(rows_of({("usu", "infidelity"): [1.0, 3.0], ("bilinear", "infidelity"): [2.0, 4.0]}))
    three, ten = layout("table3", rows), layout("table10", rows)
    assert MARKS in three.notes
    assert UNMEASURED not in three.notes
    assert [block.heading for block in three.blocks] == ["Infidelity (raw) ↓, Grad-CAM"]
    assert ten.notes[0] == UNMEASURED
    assert ten.blocks == []
    for form in FORMATS.values():
        assert "n 0" not in form(three) + form(ten)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_rows_make_a_table_without_cells(name):
    sheet = layout(name, SCHEMA.empty_table())
    assert sheet.notes[0] == UNMEASURED
    assert len(sheet.blocks) == 0


def test_tables_9_and_10_have_the_papers_network_of_the_same_kind_and_say_so():
    rows = [
        *rows_of({("usu", "road"): [0.1, 0.3]}, dataset="cifar10", model="resnet56"),
        *rows_of({("usu", "road"): [0.2]}, dataset="cifar10", model="vgg16"),
        *rows_of({("usu", "road"): [0.4]}, dataset="cub200", model="vit_tiny_patch16_224"),
    ]
    ninth, tenth = (layout(name, table(rows)) for name in ("table9", "table10"))
    block = block_of(ninth, "CIFAR-10, Grad-CAM")
    residual = cell_at(block, ("ResNet56", "USU"), "ROAD ↓")
    key = ("cifar10", "resnet50", "gradcam", "usu", "road")
    assert (residual.value, residual.n) == (pytest.approx(0.2), 2)
    assert residual.paper == published.FIGURES["table9"][key]
    attention = cell_at(block_of(tenth, "CUB-200, Grad-CAM"), ("ViT-Tiny-16", "USU"), "ROAD ↓")
    assert attention.paper == published.FIGURES["table10"]["cub200", "vit_b_16", "gradcam", "usu", "road"]
    told = "Beside ResNet56 is the paper's ResNet50: orders compare"
    assert [any(told in note for note in one.notes) for one in (ninth, tenth)] == [True, False]


def test_the_default_map_is_tested_against_interpolation():
    ours, theirs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.5, 0.4, 0.8, 0.6, 0.9]
    rows = rows_of({("total-conserving", "road"): ours, ("bilinear", "road"): theirs})
    [found] = study_of(table(rows)).comparisons.to_dict("records")
    assert (found["challenger"], found["reference"], found["n"]) == ("total-conserving", "bilinear", 6)
    assert found["p_value"] == pytest.approx(2 / 2**6)  # all of the differences have one sign
    assert found["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))
