"""The reproduction on tiny scenes and untrained networks: what is measured, kept, tabulated and drawn."""

import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch

import usu
from usu.cli import main
from usu.metrics import localisation as measures
from usu.reproduce import (
    evidence,
    experiments,
    figures,
    measured,
    methods,
    parallel,
    published,
    rows,
    selection,
    sheets,
    tables,
)
from usu.reproduce.evidence import GRIDS, Scoring
from usu.reproduce.subjects import CNNS, FULL, QUICK, SUBJECTS, Subject, reported_scenes, validation_scenes
from usu.worlds import cache
from usu.worlds.drawings import split
from usu.worlds.networks import NETWORKS
from usu.worlds.shapes import shapes
from usu.worlds.training import Quality

SIZE = 56
SCENES = split(shapes(24, 0, SIZE)).test
SCORING = Scoring(segmentation={"watershed": (2, 4)}, baselines="mean", output="logit")


def untrained(network, size=SIZE):
    torch.manual_seed(0)
    return NETWORKS[network](3, size)


def network_of(subject, effort, seed=0, *, world="shapes"):
    test, before, validation = Quality(0.9, 0.6), Quality(0.9, 0.4), Quality(0.9, 0.5)
    return SimpleNamespace(
        model=untrained(subject.network).eval(),
        test=test,
        before=before,
        validation=validation,
        seconds=1.0,
    )


@pytest.fixture
def small(monkeypatch):
    """Untrained networks, and three test scenes of 56 × 56 pixels."""
    monkeypatch.setattr(Subject, "trained", network_of)
    monkeypatch.setattr(parallel, "reported_scenes", lambda effort, seed: SCENES)
    monkeypatch.setattr(parallel, "Scoring", lambda: SCORING)
    subjects = (Subject("cnn", 0.1, "RRL-CNN"),)
    only = {name: replace(table, subjects=subjects) for name, table in tables.TABLES.items()}
    monkeypatch.setattr(tables, "TABLES", only)


@pytest.fixture(scope="module")
def seen():
    """One scene after another through an untrained CNN."""
    bench = measured.Bench(SCENES, QUICK, SCORING, seed=0)
    return list(bench.evidence(untrained("cnn").eval(), ("gradient", "gradcam")))


@pytest.fixture(scope="module")
def result(seen):
    values = [measured.measure_scene(one, ("gradient", "gradcam")) for one in seen]
    facts = {
        "accuracy": 0.9,
        "inside_before": 0.4,
        "inside_after": 0.6,
        "forward_passes": 9.0,
        "penalty": 0.1,
    }
    return measured.Measured(
        CNNS[1].name,
        ("gradient", "gradcam"),
        GRIDS,
        tuple(methods.METHODS),
        tuple(measured.MEASURES),
        np.stack(values, -1),
        facts,
    )


def test_coarse_maps_sum_the_same_pixels_on_every_grid(seen):
    for one in seen:
        for source in ("gradient", "gradcam"):
            totals = [float(one.case(source, grid).coarse.sum()) for grid in GRIDS]
            assert totals == pytest.approx([float(one.maps[source].sum())] * 3, rel=1e-5)
        assert float(one.case("gradient", 7).true_coarse.sum()) == pytest.approx(float(one.truth.sum()))


def test_a_cell_is_the_sum_of_its_gradients(seen):
    one = seen[0]
    slow = one.maps["gradient"].double().reshape(4, 14, 4, 14).sum((1, 3))
    torch.testing.assert_close(one.case("gradient", 4).coarse.double(), slow, rtol=1e-5, atol=0)


def test_score_maps_are_the_pipelines(seen):
    scene = SCENES[0]
    model = untrained("cnn").eval()
    explanation = usu.upsample(
        torch.rand(7, 7),
        scene.inputs,
        model,
        scene.target,
        images=scene.picture,
        **SCORING.options(),
        segmentation=SCORING.segmentation,
    )
    torch.testing.assert_close(seen[0].scores["model"], explanation.score_map, rtol=1e-4, atol=1e-5)
    assert seen[0].forward_passes == explanation.forward_passes


def test_shuffled_scores_are_the_same_scores_elsewhere():
    labels = torch.tensor([[0, 0, 1, 2]])
    scores, settings = (torch.tensor([0.2, 0.5, 1.0]),), {"mixing": "mean"}
    explanation = SimpleNamespace(partitions=(labels,), scores=scores, settings=settings)
    found = {
        tuple(evidence.shuffled(explanation, np.random.default_rng(seed)).flatten().tolist())
        for seed in range(40)
    }
    assert len(found) == 6  # every order of three scores
    assert all(sorted({*values}) == pytest.approx([0.2, 0.5, 1.0]) for values in found)


def test_true_scores_are_shares_of_foreground_by_hand():
    partitions = (torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 2, 2]]))
    explanation = SimpleNamespace(partitions=partitions, settings={"mixing": "mean"})
    scores = evidence.true_scores(explanation, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert scores.tolist() == [[0.75, 0.25, 0.0, 0.0]]


def test_random_segments_are_the_nearest_sites():
    labels = evidence.scattered_segments((9, 12), 7, np.random.default_rng(3))
    again = evidence.scattered_segments((9, 12), 7, np.random.default_rng(3))
    assert torch.equal(labels, again)
    assert sorted(labels.unique().tolist()) == list(range(7))
    sites = np.random.default_rng(3).choice(9 * 12, 7, replace=False)
    for y, x in np.ndindex(9, 12):
        distances = [(y - site // 12) ** 2 + (x - site % 12) ** 2 for site in sites]
        assert distances[labels[y, x]] == min(distances)


def test_oracle_iwmr_finds_the_truth_whatever_the_coarse_map(seen):
    for one in seen:
        for grid in GRIDS:
            case = one.case("gradient", grid)
            pixels = methods.METHODS["oracle-iwmr"].draw(case)
            assert measures.iou_area(pixels, one.truth) == 1
            assert measures.pointing(pixels, one.truth) == 1
            assert float(pixels.sum()) == pytest.approx(float(case.coarse.sum()), rel=1e-4)


@pytest.mark.parametrize(
    "name", ["usu", "oracle-usu", "shuffled scores", "random segments", "usu, true scores"]
)
def test_rows_of_usu_conserve_each_cell(seen, name):
    for grid in GRIDS:
        case = seen[0].case("gradient", grid)
        side = SIZE // grid
        sums = methods.METHODS[name].draw(case).double().reshape(grid, side, grid, side).sum((1, 3))
        torch.testing.assert_close(sums, case.coarse.double(), rtol=1e-4, atol=1e-7)


def test_one_part_at_a_time_is_replaced(seen):
    case = seen[0].case("gradient", 4)
    assert torch.equal(methods.METHODS["constant"].draw(case), torch.ones(SIZE, SIZE))
    assert torch.equal(methods.METHODS["scores alone"].draw(case), case.scores["model"])
    both = methods.Case(case.true_coarse, case.true_coarse, case.scores)
    torch.testing.assert_close(
        methods.METHODS["usu, true cells"].draw(case), methods.METHODS["usu"].draw(both)
    )
    other = methods.Case(
        case.coarse, case.true_coarse, {**case.scores, "model": case.scores["true segments"]}
    )
    torch.testing.assert_close(
        methods.METHODS["usu, true segments"].draw(case), methods.METHODS["usu"].draw(other)
    )


def test_blurred_nearest_keeps_the_mean():
    case = methods.Case(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2), {"model": torch.zeros(1, 8)})
    blurred = methods.METHODS["blurred nearest"].draw(case)
    assert float(blurred.sum()) == pytest.approx(4, rel=1e-5)
    assert (blurred.diff() >= 0).all()


def test_measured_values_come_back_from_the_file(result, tmp_path):
    result.keep(tmp_path / "one.npz")
    found = measured.Measured.find(tmp_path / "one.npz")
    np.testing.assert_array_equal(found.values, result.values)
    for name in ("subject", "sources", "grids", "methods", "measures", "facts"):
        assert getattr(found, name) == getattr(result, name)


def other_words(path, words):
    with path.open("wb") as file:
        np.savez(file, values=np.zeros(2), facts=np.array(words))


def an_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def overwritten(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(60) + whole[260:])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "text": lambda path: path.write_bytes(b"half a file"),
    "overwritten": overwritten,
    "an array": an_array,
    "a list": lambda path: other_words(path, "[]"),
    "an empty object": lambda path: other_words(path, "{}"),
    "no JSON": lambda path: other_words(path, "measured"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_measured_again_with_a_warning(damage, result, tmp_path, monkeypatch):
    measuring = []

    def measure(*_):
        measuring.append(1)
        return result

    monkeypatch.setattr(measured, "measure_subject", measure)
    bench = measured.Bench(SCENES, QUICK, SCORING, 0)
    arguments = (CNNS[1], bench, tmp_path, lambda: None)
    measured.measured(*arguments)
    (path,) = tmp_path.iterdir()
    damage(path)
    with pytest.warns(UserWarning, match=r"cnn-0\.1-\w+\.npz is damaged and is made again: "):
        again = measured.measured(*arguments)
    np.testing.assert_array_equal(again.values, result.values)
    measured.measured(*arguments)  # whole again: pytest would make a warning an error
    assert len(measuring) == 2


@pytest.fixture(scope="module")
def made(result):
    """Rows and tests."""
    return rows.rows_of([result]), rows.tests_of([result])


def test_rows_hold_means_and_intervals(result, made):
    table, _ = made
    assert len(table) == 2 * (len(GRIDS) + 1) * len(methods.METHODS)
    of_usu = table.loc[CNNS[1].name].xs(("gradient", "usu"), level=["source", "method"])
    place = (0, GRIDS.index(7), list(methods.METHODS).index("usu"), 0)
    assert of_usu.loc[7, "iou_area"] == pytest.approx(result.values[place].mean())
    assert of_usu.loc[7, "iou_area_low"] <= of_usu.loc[7, "iou_area"]
    over_grids = of_usu.loc[list(GRIDS), "iou_area"]
    assert of_usu.loc["mean", "iou_area"] == pytest.approx(np.mean(over_grids))


def test_tests_are_paired_and_corrected_for_all_of_them(result, made):
    _, tests = made
    # Two sources, three measures, all methods against both references, but for each against itself.
    assert set(tests["tests"]) == {len(tests)}
    assert len(tests) == 2 * 3 * (2 * len(methods.METHODS) - 2)
    test = tests[(tests["reference"] == "bilinear") & (tests["measure"] == "concentration")].iloc[0]
    assert test.name == (CNNS[1].name, "gradient", "nearest")
    number = list(methods.METHODS)
    values = result.values.mean(1)[0, :, list(measured.MEASURES).index("concentration")]
    expected = (values[number.index("nearest")] - values[number.index("bilinear")]).mean()
    assert test["difference"] == pytest.approx(expected)
    # By Bonferroni and by Holm.
    p_values = np.sort(tests["p_value"])
    assert np.sort(tests["bonferroni"]) == pytest.approx(np.minimum(1, len(tests) * p_values))
    stepped = np.maximum.accumulate(p_values * np.arange(len(tests), 0, -1))
    assert np.sort(tests["holm"]) == pytest.approx(np.minimum(1, stepped))


def test_tables_are_written_as_rows(made, tmp_path):
    table, tests = made
    rows.write_rows(table, tests, tmp_path / "table5.json")
    read = json.loads((tmp_path / "table5.json").read_text())
    wanted = {"model", "method", "grid", "iou_area", "iou_half", "concentration", "pointing", "n"}
    assert all(wanted | {"iou_area_low", "iou_area_high", "source", "tests"} <= row.keys() for row in read)
    assert {row["grid"] for row in read} == {4, 7, 14, "mean"}
    assert {row["n"] for row in read} == {len(SCENES)}
    assert all(row["tests"] == [] for row in read if row["grid"] != "mean")
    written = [test for row in read for test in row["tests"]]
    assert [test["p_value"] for test in written] == tests["p_value"].tolist()
    assert [test["cohens_d"] for test in written] == [
        value if np.isfinite(value) else str(value) for value in tests["cohens_d"]
    ]


def test_tables_stand_beside_the_papers(result, made):
    table = replace(tables.TABLES["table5"], subjects=(CNNS[1],))
    text = "\n".join(tables.render(table, [result], *made))
    for method in methods.METHODS.values():
        assert method.title in text
    assert " 0.86   0.76  1.00" in text
    assert "Oracle-IWMR  IoU at area 1.00 ≥ 1.00" in text
    assert "λ = 0.1" in text


def test_empty_coarse_maps_are_counted(seen, result, made):
    assert [result.empty(source) for source in result.sources] == [0, 0]
    nothing = [replace(one, maps={**one.maps, "gradcam": 0 * one.maps["gradcam"]}) for one in seen[:2]]
    values = result.values.copy()
    for index, one in enumerate(nothing):
        values[..., index] = measured.measure_scene(one, result.sources)
    some = replace(result, values=values)
    assert [some.empty(source) for source in some.sources] == [0, 2]
    table = replace(tables.TABLES["table5"], subjects=(CNNS[1],))
    said = [line for line in tables.render(table, [some], *made) if "are 0 everywhere" in line]
    assert len(said) == 1
    assert said[0].startswith(f"  2 of {len(SCENES)} coarse maps")
    assert not any("are 0 everywhere" in line for line in tables.render(table, [result], *made))


def test_the_papers_rows_are_ours_by_name():
    tables_of_paper = {name: published.published(name) for name in ("table1", "table5")}
    for table in tables_of_paper.values():
        assert set(table.index.get_level_values("method")) <= methods.UPSAMPLED.keys()
        assert set(table.index.get_level_values("model")) <= {subject.paper for subject in SUBJECTS}
        assert table.index.is_unique
    assert {name: len(table) for name, table in tables_of_paper.items()} == {"table1": 5, "table5": 14}


def test_scenes_are_chosen_and_reported_apart():
    reported, chosen = reported_scenes(QUICK), validation_scenes(QUICK)
    assert len(reported) == len(chosen) == 30
    assert not set(reported.numbers) & set(chosen.numbers)


def test_the_command_keeps_what_it_measured(small, tmp_path, capsys, monkeypatch):
    assert main(["reproduce", "table1", "--quick", "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert "RRL-CNN, λ = 0.1" in first
    assert len(json.loads((tmp_path / "table1.json").read_text())) > 100

    def refuse(*_, **__):
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(Subject, "trained", refuse)
    # Table 5 shares what was measured for table 1.
    assert main(["reproduce", "table5", "--quick", "--out", str(tmp_path)]) == 0
    second = capsys.readouterr().out
    assert "controls:" in second
    by_grid = [line for line in first.splitlines() if line.startswith("  Bilinear")]
    assert len(by_grid) == 1
    assert set(by_grid) <= set(second.splitlines())


def test_a_network_that_cannot_be_measured_is_told_in_one_line(small, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise ImportError("a package is missing")

    monkeypatch.setattr(Subject, "trained", fail)
    assert main(["reproduce", "table1", "--quick", "--out", str(tmp_path)]) == 2
    problem = capsys.readouterr().err.splitlines()[-1]
    assert problem.startswith("usu: error: ImportError: a package is missing")


def test_other_settings_are_measured_again(monkeypatch, tmp_path):
    bench = measured.Bench(SCENES[:1], QUICK, SCORING, 0)
    others = (
        measured.Bench(SCENES[:1], QUICK, Scoring(), 0),
        measured.Bench(SCENES[1:2], QUICK, SCORING, 0),
        measured.Bench(SCENES[:1], QUICK, SCORING, 1),
        measured.Bench(SCENES[:1], FULL, SCORING, 0),
    )
    files = {one.file(CNNS[0], tmp_path) for one in (bench, *others)}
    files.add(bench.file(CNNS[1], tmp_path))
    monkeypatch.setattr(cache, "EDITION", cache.EDITION + 1)  # the same settings, but other weights
    files.add(bench.file(CNNS[0], tmp_path))
    assert len(files) == 7


def test_a_quick_run_takes_fewer_steps():
    quick, full = (CNNS[1].recipe(effort) for effort in (QUICK, FULL))
    steps = [
        [stage.steps for stages in (recipe.plain, recipe.penalised) for stage in stages]
        for recipe in (quick, full)
    ]
    assert all(0 < few <= many / 4 + 1 for few, many in zip(*steps, strict=True))
    assert QUICK.scenes * 10 == FULL.scenes


def test_every_table_and_figure_is_an_experiment():
    assert set(experiments.EXPERIMENTS) == {*tables.TABLES, *figures.FIGURES, "settings"}


def test_the_best_of_all_ways_and_segments_is_chosen(tmp_path, monkeypatch):
    """Worths are made up: masking beats both, the logit the probability, the mean the other fills."""
    judging = []

    def judge(networks, scenes, scoring):
        assert list(networks) == ["RRL-CNN, λ = 1"]  # neither the weak penalty's nor the transformer
        assert len(scenes) == 2
        judging.append(scoring)
        worth = 0.1 * (scoring.method == "mask") + 0.2 * (scoring.output == "logit")
        worth += 0.4 * (scoring.baselines == "mean")
        worth += 0.05 * selection.SEGMENTATIONS.index(scoring.segmentation) % 0.15  # the third the best
        return selection.Candidate(scoring, {"cnn": {"usu iou_area": worth}}, 9.0)

    monkeypatch.setattr(selection, "judge", judge)
    monkeypatch.setattr(selection, "SUBJECTS", (*CNNS, SUBJECTS[-1]))
    monkeypatch.setattr(selection, "validation_scenes", lambda effort: SCENES[:2])
    monkeypatch.setattr(Subject, "trained", network_of)
    few, *others = selection.SEGMENTATIONS
    lines = selection.choose(tmp_path, quick=True)
    assert len(judging) == 12 + len(others)
    assert all(scoring.segmentation == few for scoring in judging[:12])
    assert judging[12:] == [Scoring(other, "mask", "mean", "logit") for other in others]
    ranked = json.loads((tmp_path / "settings.json").read_text())
    assert len(ranked) == len(judging)
    merits = [candidate["merit"] for candidate in ranked]
    assert merits == sorted(merits, reverse=True)
    best = Scoring(selection.SEGMENTATIONS[2], "mask", "mean", "logit").plain()
    assert best.items() <= ranked[0].items()
    assert "watershed (4, 16), slic (4, 16)" in lines[4]


def test_settings_are_judged_by_what_they_are_worth():
    networks = {"cnn": untrained("cnn").eval()}
    judged = selection.judge(networks, list(SCENES[:2]), SCORING)
    assert judged.merit == pytest.approx(np.mean(list(judged.figures["cnn"].values())))
    assert set(judged.figures["cnn"]) == {
        f"{method} {measure}" for method in ("usu", "iwmr") for measure in ("iou_area", "concentration")
    }
    worse = selection.Candidate(Scoring(), {"cnn": {"usu iou_area": -1.0}}, 3.0)
    lines = selection.render(sorted([worse, judged], key=lambda one: -one.merit), 2)
    assert "watershed (2, 4)" in lines[4]


@pytest.fixture
def views(monkeypatch):
    """Views of tiny scenes for all figures."""
    models = {"shapes": untrained("cnn").eval(), "patterns": NETWORKS["cnn"](5, SIZE).eval()}
    monkeypatch.setattr(figures, "PATTERN_SEGMENTS", {"quadtree": (2, 4)})
    monkeypatch.setattr(
        Subject, "trained", lambda *_, world="shapes", **__: SimpleNamespace(model=models[world])
    )
    monkeypatch.setattr(figures, "Scoring", lambda: SCORING)
    monkeypatch.setattr(figures, "reported_scenes", lambda effort: shapes(6, 0, SIZE))
    pattern = figures.patterns
    monkeypatch.setattr(figures, "patterns", lambda count, seed: pattern(20, seed, SIZE))


SHAPES_OF_SHEETS = {
    "figure2": (6, 7),
    "figure3": (3, 4),
    "figure4": (3, 7),
    "figure7": (5, 2),
    "figure8": (5, 8),
    "figure9": (9, 7),
}


@pytest.mark.parametrize("name", SHAPES_OF_SHEETS)
def test_sheets_have_the_papers_panels(views, name):
    sheet = figures.FIGURES[name](QUICK)
    assert (len(sheet.panels), len(sheet.panels[0])) == SHAPES_OF_SHEETS[name]
    assert len(sheet.rows) == len(sheet.panels)
    assert len(sheet.columns) == len(sheet.panels[0])
    maps = [panel.values for row in sheet.panels for panel in row if panel.kind == sheets.MAP]
    # Every map is relative to its own mean.
    assert [np.abs(values).mean() for values in maps] == pytest.approx([1] * len(maps), rel=1e-5)


def test_nine_configurations_in_the_papers_order(views):
    assert figures.figure9(QUICK).rows == [
        "circle",
        "triangle",
        "zigzag",
        "sine",
        "spiral",
        "concentric wave",
        "moiré",
        "square",
        "circle",
    ]


def test_figures_are_written_as_png_and_pdf(views, tmp_path, capsys):
    assert main(["reproduce", "figure7", "--out", str(tmp_path)]) == 0
    picture = matplotlib.image.imread(tmp_path / "figure7.png")
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 0.1
    assert (tmp_path / "figure7.pdf").read_bytes().startswith(b"%PDF")
    assert "from top to bottom" in capsys.readouterr().out


def test_all_maps_of_a_sheet_share_one_scale(views):
    sheet = figures.figure4(QUICK)
    figure = sheets.draw(sheet)
    norms = {
        id(image.norm) for axis in figure.axes for image in axis.images if image.get_cmap().name != "gray"
    }
    assert len(norms) == 1


@pytest.mark.parametrize("name", ["figure3", "figure7"])
def test_titles_are_readable_on_a_page_and_apart(views, name):
    figure = sheets.draw(figures.FIGURES[name](QUICK))
    width = figure.get_figwidth()
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) / 72 / width * 690 >= 8  # pixels, of a page's 690
    labels = [label for axis in figure.axes for label in (axis.title, axis.yaxis.label) if label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
