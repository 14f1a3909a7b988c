"""Panels of scores, errors and benchmarks, and the paper's figures: they draw the record's own numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import usu
from tests.helpers.records import refinement as made_by_hand
from tests.plot.test_figures import SIZE, labels, make
from usu import plot
from usu.metrics.errors import ErrorMaps, error_maps
from usu.metrics.statistics import bootstrap_interval
from usu.plot import stages
from usu.plot.scales import borders
from usu.plot.stages import merged_scores
from usu.scoring.registry import SCORINGS

RAW = (np.array([0.2, -0.1]), np.array([0.3, 0.0, -0.4, 0.1]))

THRESHOLD = 0.7


@pytest.fixture
def axis():
    return Figure().subplots()


@pytest.fixture
def explanation():
    given = make()
    own = made_by_hand(given.partitions, raw_scores=RAW)
    return replace(given, refinements=(own,), h_map=usu.h_map(given.score_map))


@pytest.fixture
def refinement():
    """Three depths scored by a network, whose H-map decides."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, *SIZE, generator=generator)
    hierarchy = usu.Hierarchy([labels(2, 4), labels(4, 8), labels(8, 12 * 2)])
    inputs = torch.rand(3, *SIZE, generator=generator)

    def forward(batch):
        logit = (batch * weights).sum((1, 2, 3)) / 10
        return torch.stack([logit, -logit], 1)

    return usu.refine(forward, inputs, hierarchy, 0, threshold=THRESHOLD, mixing="segment", kernel="gradient")


def drawn(axis, number=0):
    return np.asarray(axis.images[number].get_array())


def titled(figure: Figure, start: str):
    return [axis for axis in figure.axes if axis.get_title().startswith(start)]


def sizes(figure: Figure) -> list[float]:
    return [text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text().strip()]


# --- panels ---


def test_raw_scores_lie_on_their_segments(explanation, axis):
    image = plot.raw_scores(explanation, axis, 1)
    assert np.array_equal(image.get_array(), RAW[1][labels(2, 2)])
    assert image.get_clim() == (-0.4, 0.4)


def test_raw_scores_of_all_depths_share_a_scale(explanation):
    norm = plot.full_limits(RAW)
    panels = Figure().subplots(1, 2)
    images = [plot.raw_scores(explanation, axis, number, norm=norm) for number, axis in enumerate(panels)]
    assert {image.get_clim() for image in images} == {(-0.4, 0.4)}


def test_h_map_is_the_records_and_diverges_about_zero(explanation, axis):
    image = plot.h_map(explanation, axis)
    assert np.array_equal(image.get_array(), explanation.h_map)
    limit = np.abs(explanation.h_map).max()
    assert image.get_clim() == (-limit, limit)


def test_hierarchy_draws_the_borders_of_every_depth_the_coarsest_on_top(explanation, axis):
    coarse, fine = plot.hierarchy(explanation, axis)
    assert sum(drawn_sides(coarse).values()) == SIZE[0]
    assert sum(drawn_sides(fine).values()) == SIZE[0] + SIZE[1]
    assert coarse.get_zorder() > fine.get_zorder()
    assert coarse.get_linewidth() > fine.get_linewidth()


def drawn_sides(lines):
    """Return how often each side of a pixel is drawn, by its middle in quarters of a pixel's side."""
    found = Counter()
    for (x, y), (to_x, to_y) in lines.get_segments():
        assert x == to_x or y == to_y
        pixels = int(abs(to_x - x) + abs(to_y - y))
        step = np.array([to_x - x, to_y - y]) / pixels
        found.update(tuple(4 * (np.array([x, y]) + (number + 0.5) * step)) for number in range(pixels))
    return found


def test_borders_are_the_sides_between_pixels_of_other_labels_once_each():
    grid = np.random.default_rng(0).integers(0, 3, (7, 5))
    expected = Counter()
    for y, x in np.ndindex(grid.shape):
        if x + 1 < grid.shape[1] and grid[y, x] != grid[y, x + 1]:
            expected[4 * (x + 0.5), 4.0 * y] += 1
        if y + 1 < grid.shape[0] and grid[y, x] != grid[y + 1, x]:
            expected[4.0 * x, 4 * (y + 0.5)] += 1
    assert drawn_sides(borders(grid)) == expected
    assert not drawn_sides(borders(np.zeros((3, 4), dtype=int)))


def test_borders_of_one_depth(explanation, axis):
    assert plot.segment_borders(explanation, axis, 0) == 2


@pytest.mark.parametrize("number", [-1, 2])
def test_there_is_no_such_partition(explanation, axis, number):
    for draw in (plot.segment_borders, plot.raw_scores):
        with pytest.raises(ValueError, match=r"number must be one of the 2 partitions, 0\.\.1"):
            draw(explanation, axis, number)


def test_weights_of_a_cell_are_its_pixels_over_their_mean(axis):
    scores = np.random.default_rng(3).random(SIZE)
    coarse = np.arange(1.0, 7.0).reshape(2, 3)
    values = usu.redistribute(coarse, scores, temperature=0.2)
    record = replace(make(), coarse=coarse, attribution=values, mass="density")
    weights = plot.cell_weights(record, axis, 4).get_array()
    levels = np.exp(scores[8:, 8:16] / 0.2)
    assert np.allclose(weights, 64 * levels / levels.sum())
    frame = plot.mark_cell(record, axis, 4)
    assert frame.get_xy() == (7.5, 7.5)
    assert (frame.get_width(), frame.get_height()) == (8, 8)


def test_weights_need_a_cell_with_mass(explanation, axis):
    with pytest.raises(ValueError, match=r"cell must be one of the 6 cells, 0\.\.5, got 6"):
        plot.cell_weights(explanation, axis, 6)
    with pytest.raises(ValueError, match="cell 0 has no mass to share"):
        plot.cell_weights(make(((0.0, 1.0, 1.0), (1.0, 1.0, 1.0))), axis, 0)


@pytest.mark.parametrize(
    "draw",
    [plot.h_map, plot.score_map, plot.hierarchy, lambda record, axis: plot.raw_scores(record, axis, 0)],
)
def test_an_axis_and_the_global_settings_are_left_as_they_were(explanation, axis, draw):
    before = dict(mpl.rcParams)
    axis.set_title("mine")
    axis.set_ylabel("row")
    draw(explanation, axis)
    assert (axis.get_title(), axis.get_ylabel()) == ("mine", "row")
    assert len(axis.figure.axes) == 1
    assert dict(mpl.rcParams) == before


# --- errors ---


def test_errors_are_alpha_above_and_beta_below_zero_on_one_scale():
    generator = np.random.default_rng(0)
    truth = generator.random((8, 8))
    errors = {name: error_maps(generator.random((8, 8)) * size, truth) for name, size in (("a", 1), ("b", 5))}
    figure = plot.error_figure(errors, truth=truth, unit="logits")
    panels = figure.axes[:2]
    for axis, one in zip(panels, errors.values(), strict=True):
        assert np.array_equal(np.clip(drawn(axis), 0, None), one.alpha)
        assert np.array_equal(np.clip(-drawn(axis), 0, None), one.beta)
        red, _, blue, _ = axis.images[0].get_cmap()(0.95)
        assert red > blue
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    lowest, highest = panels[0].images[0].get_clim()
    assert lowest == -highest
    assert "logits" in figure.axes[-1].get_ylabel()


def test_errors_that_cannot_be_drawn(axis):
    one = ErrorMaps(np.zeros((4, 4)), np.zeros((4, 4)))
    assert plot.error_map(one, axis).get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="truth must be"):
        plot.error_map(one, axis, truth=np.ones((3, 3)))
    with pytest.raises(ValueError, match="errors must be of one map"):
        plot.error_map(ErrorMaps(np.zeros((1, 4, 4)), np.zeros((1, 4, 4))), axis)
    with pytest.raises(ValueError, match="errors is empty"):
        plot.error_figure({})


# --- distributions ---


@pytest.fixture
def samples():
    generator = np.random.default_rng(0)
    return {"USU": generator.random(30), "bilinear": 1 + generator.random(20)}


@pytest.fixture
def intervals(samples):
    return {name: bootstrap_interval(values, resamples=200) for name, values in samples.items()}


def test_every_value_is_drawn_in_its_row_beside_its_interval(samples, intervals, axis):
    plot.distributions(samples, intervals, axis, label="deletion")
    for row, (name, values) in enumerate(samples.items()):
        points, bar, mean = axis.lines[3 * row : 3 * row + 3]
        assert np.array_equal(points.get_xdata(), values)
        assert (np.abs(points.get_ydata() - row) < 0.5).all()
        assert list(bar.get_xdata()) == [intervals[name].low, intervals[name].high]
        assert list(mean.get_xdata()) == [intervals[name].mean]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["USU\nn = 30", "bilinear\nn = 20"]
    assert axis.get_xlabel() == "deletion\npoints: images; diamonds: means, 95 % intervals"
    assert axis.get_xscale() == "linear"


def test_logarithmic_values(samples, intervals, axis):
    plot.distributions(samples, intervals, axis, label="infidelity", log=True)
    assert axis.get_xscale() == "log"
    shifted = {"USU": samples["USU"] - 0.5}
    with pytest.raises(ValueError, match="log needs positive values"):
        plot.distributions(shifted, {"USU": intervals["USU"]}, axis, label="x", log=True)


def test_distributions_refuse_what_does_not_belong_together(samples, intervals, axis):
    with pytest.raises(ValueError, match="values is empty"):
        plot.distributions({}, {}, axis, label="x")
    with pytest.raises(ValueError, match="'bilinear' is in one only"):
        plot.distributions(samples, {"USU": intervals["USU"]}, axis, label="x")
    with pytest.raises(ValueError, match="'USU' has 29 values, but its interval is of 30"):
        plot.distributions({**samples, "USU": samples["USU"][1:]}, intervals, axis, label="x")
    with pytest.raises(ValueError, match="values of 'USU' must be finite"):
        plot.distributions({**samples, "USU": samples["USU"] * np.nan}, intervals, axis, label="x")


# --- the paper's figures ---


def test_figure_5_shows_each_stage_with_its_own_data(explanation):
    figure = plot.figure5(explanation)
    (first,), (second,) = titled(figure, "Raw scores, depth 0"), titled(figure, "Raw scores, depth 1")
    assert np.array_equal(drawn(first), RAW[0][labels(1, 2)])
    assert np.array_equal(drawn(second), RAW[1][labels(2, 2)])
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert np.array_equal(drawn(*titled(figure, "Merged scores")), explanation.score_map)
    assert np.array_equal(drawn(*titled(figure, "H-map")), explanation.h_map)
    (coarse,), (pixels,) = titled(figure, "Coarse map, 2 × 3"), titled(figure, "Pixel map")
    assert np.allclose(drawn(coarse), explanation.attribution)
    assert np.array_equal(drawn(pixels), explanation.attribution)
    assert coarse.images[0].get_clim() == pixels.images[0].get_clim()
    assert np.array_equal(drawn(*titled(figure, "Weights")), np.ones((8, 8)))


def bar_of(figure: Figure, start: str):
    (axis,) = (axis for axis in figure.axes if axis.get_xlabel().startswith(start))
    return axis


@pytest.mark.parametrize(
    ("scoring", "output", "target", "words"),
    [
        ("mask", "probability", 3, "drop of the probability when masked"),
        ("keep", "logit", 3, "rise of the logit when kept"),
        ("both", "bowl()", 3, "mean change of the answer"),
        ("owen", "probability", "bowl", "Owen value of the answer"),
        ("regression", "probability", 3, "coefficient of the probability"),
        ("mask+order", "logit", 3, "drop of the logit when masked, then parts of the order"),
        ("order", "probability", 3, "part of a pixel's place in the order"),
    ],
)
def test_figure_5_says_what_was_scored(explanation, scoring, output, target, words):
    settings = {**explanation.settings, "scoring": scoring, "output": output}
    figure = plot.figure5(replace(explanation, settings=settings, target=target))
    assert bar_of(figure, words).get_xlabel() == words


def test_every_method_has_its_words():
    assert set(stages.RAW_TITLES) == set(SCORINGS)


@pytest.mark.parametrize(
    ("low", "high", "ends"), [(-9, 1, "min"), (-1, 9, "max"), (-9, 9, "both"), (-1, 1, "neither")]
)
def test_figure_5_tells_clipping_at_both_ends(explanation, low, high, ends):
    attribution = np.ones(SIZE)
    attribution[8:] = -1
    attribution[0, 0], attribution[15, 0] = high, low
    figure = plot.figure5(replace(explanation, attribution=attribution))
    assert bar_of(figure, "attribution per pixel")._colorbar.extend == ends


def test_figure_5_shows_the_cell_of_most_mass(explanation):
    cells = np.minimum(labels(1, 4), 1)  # of areas 1 : 3
    for mass, column in (("density", 6), ("total", 0)):
        given = replace(explanation, neighbourhoods=cells, coarse=np.array([1.0, 0.9]), mass=mass)
        figure = plot.figure5(replace(given, attribution=np.ones(SIZE)))
        (frame,) = (patch for axis in figure.axes for patch in axis.patches if isinstance(patch, Rectangle))
        assert frame.get_x() == column - 0.5


def test_figure_6_shows_each_depth_with_its_own_data(refinement):
    figure = plot.figure6(refinement, np.random.default_rng(0).random((3, *SIZE)))
    matrices = merged_scores(refinement)
    assert np.allclose(matrices[-1], np.asarray(refinement.score_map), atol=1e-6)
    for depth, axis in enumerate(titled(figure, "Φ, ")):
        own = np.asarray(refinement.scores[depth])[np.asarray(refinement.partitions[depth])]
        assert np.array_equal(drawn(axis), own)
    for matrix, axis in zip(matrices[1:], titled(figure, "Merged"), strict=True):
        assert np.array_equal(drawn(axis), matrix)
    for h, axis in zip(refinement.h_maps, titled(figure, "H-map"), strict=True):
        assert np.array_equal(drawn(axis), np.asarray(h))
    for alpha, axis in zip(refinement.mixings, titled(figure, "Kept share"), strict=True):
        assert np.array_equal(drawn(axis), np.asarray(alpha))
    assert len({axis.images[0].get_clim() for axis in titled(figure, "H-map")}) == 1


def test_figure_6_tints_what_the_threshold_chose(refinement):
    figure = plot.figure6(refinement, np.zeros((3, *SIZE)))
    before, after = (np.asarray(part) for part in refinement.partitions[:2])
    h = np.abs(np.asarray(refinement.h_maps[0]))
    chosen = [label for label in np.unique(before) if h[before == label].max() > THRESHOLD]
    (axis,) = titled(figure, f"{len(chosen)} of {before.max() + 1} split")[:1]
    tinted = ~np.ma.getmaskarray(axis.images[1].get_array())
    assert np.array_equal(tinted, np.isin(before, chosen))
    assert after.max() > before.max()


def test_text_is_seven_points_or_more_and_panels_do_not_overlap(explanation, refinement):
    for figure in (plot.figure5(explanation), plot.figure6(refinement, np.zeros((3, *SIZE)))):
        figure.draw_without_rendering()
        assert min(sizes(figure)) >= 7
        boxes = [axis.get_tightbbox() for axis in figure.axes if axis.axison]
        for number, box in enumerate(boxes):
            for other in boxes[:number]:
                wide = min(box.x1, other.x1) - max(box.x0, other.x0)
                tall = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert min(wide, tall) < 2, (box, other)


def test_titles_and_the_legend_of_figure_5_leave_the_pictures_free(explanation):
    figure = plot.figure5(explanation)
    figure.draw_without_rendering()
    titles = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
    for number, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[:number])
    (axis,) = titled(figure, "Borders by depth")
    legend = axis.get_legend().get_window_extent()
    assert not any(legend.overlaps(other.get_window_extent()) for other in figure.axes)


def test_figures_refuse_what_does_not_fit(explanation, refinement):
    many = replace(explanation, refinements=explanation.refinements * 2)
    with pytest.raises(ValueError, match="explanation has 4 partitions, at most 3 fit"):
        plot.figure5(many)
    crossed = made_by_hand((labels(1, 2), labels(2, 3)), raw_scores=(RAW[0], np.ones(6)))
    crossing = replace(explanation, refinements=(crossed,))
    with pytest.raises(ValueError, match="partition 1 is not nested"):
        plot.figure5(crossing)
    with pytest.raises(ValueError, match="image must be"):
        plot.figure6(refinement, np.zeros((3, 4, 4)))
    shallow = replace(refinement, partitions=refinement.partitions[:1])
    with pytest.raises(ValueError, match="refinement must have 2 to 4 depths, got 1"):
        plot.figure6(shallow, np.zeros((3, *SIZE)))
    with pytest.raises(ValueError, match="merged depth by depth"):
        plot.figure6(replace(refinement, mixings=()), np.zeros((3, *SIZE)))
