"""Figures: what they show, on which scale and with which words; the pictures themselves are looked at."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from tests.helpers.records import refinement
from usu import plot
from usu.explanation import Explanation

SIZE = (16, 24)
PANELS = ["Input", "Coarse map, 2 × 3 cells", "Finest segments, 4", "Score map"]


def labels(rows: int, columns: int) -> np.ndarray:
    row, column = np.arange(SIZE[0]) * rows // SIZE[0], np.arange(SIZE[1]) * columns // SIZE[1]
    return row[:, None] * columns + column


def make(coarse: object = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))) -> Explanation:
    generator = np.random.default_rng(0)
    coarse = np.array(coarse)
    return Explanation(
        attribution=coarse.ravel()[labels(2, 3)] / 64,
        coarse=coarse,
        image=generator.random((3, *SIZE)),
        refinements=(refinement((labels(1, 2), labels(2, 2))),),
        h_map=np.zeros(SIZE),
        score_map=generator.random(SIZE),
        target=7,
        probability=0.123,
        mode="usu",
        mass="total",
        settings={},
        forward_passes=42,
        source="gradcam",
        unit="logits",
    )


@pytest.fixture
def axis():
    return Figure().subplots()


@pytest.fixture
def explanation():
    return make()


@pytest.fixture
def maps(explanation):
    names = [name for name in plot.TITLES if name != "usu"]
    generator = np.random.default_rng(1)
    return {name: generator.random(SIZE) * 0.1 for name in names} | {"usu": explanation.attribution}


def bilinear(figure: Figure) -> np.ndarray:
    (axis,) = (axis for axis in figure.axes if axis.get_title() == "Bilinear")
    return np.asarray(axis.images[-1].get_array())


def scales(figure: Figure, colours: str) -> list[tuple[float, float]]:
    images = [image for axis in figure.axes for image in axis.images if image.get_cmap().name == colours]
    return [image.get_clim() for image in images]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def bar_labels(figure: Figure) -> list[str]:
    return [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]


def drawn(figure: Figure, path) -> np.ndarray:
    plot.save_figure(figure, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_comparison_has_every_panel_under_plain_words(explanation, maps):
    figure = plot.comparison(explanation, maps, class_name="tabby", model="resnet18")
    assert titles(figure) == [*PANELS, *(plot.TITLES[name] for name in maps), "USU, overlaid"]
    assert figure.get_suptitle() == ("tabby, probability 12.3 %  ·  resnet18  ·  Grad-CAM  ·  42 passes")


def test_all_maps_and_the_coarse_cells_share_one_scale(explanation, maps):
    figure = plot.comparison(explanation, maps)
    shared = scales(figure, "inferno")
    assert len(shared) == 1 + len(maps) + 1
    pooled = np.concatenate([values.ravel() for values in maps.values()])
    assert set(shared) == {(0.0, float(np.quantile(pooled, 0.98)))}


def test_one_colour_bar_each_for_the_scores_and_for_the_maps(explanation, maps):
    scores, attribution = bar_labels(plot.comparison(explanation, maps))
    assert "segment score" in scores
    assert "attribution per pixel" in attribution
    assert "logits" in attribution
    assert "clipped" in attribution
    assert "98 % quantile; largest: " in attribution


def test_colours_that_are_not_clipped_do_not_say_so(explanation):
    (label,) = bar_labels(plot.overlay_figure(replace(explanation, attribution=np.full(SIZE, 0.5))))
    assert "clipped" not in label


def test_a_given_map_has_no_known_unit(explanation):
    (label,) = bar_labels(plot.overlay_figure(replace(explanation, source="given", unit=None)))
    assert "units of the coarse map" in label


def test_ticks_and_label_share_their_power_of_ten(explanation, tmp_path):
    small = {"attribution": explanation.attribution * 1e-5, "coarse": explanation.coarse * 1e-5}
    figure = plot.overlay_figure(replace(explanation, **small))
    (label,) = bar_labels(figure)
    assert "$10^{-7}$" in label
    drawn(figure, tmp_path / "small.png")
    ticks = [float(tick.get_text()) for tick in figure.axes[-1].get_yticklabels()]
    assert 1 <= max(ticks) <= 10
    both = [explanation.attribution * 1e-5, bilinear(figure)]
    limit = plot.colour_limits(both).vmax
    assert max(ticks) * 1e-7 == pytest.approx(limit, rel=0.25)


def test_signed_maps_diverge_about_zero(maps):
    signed = make(coarse=((-6.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    figure = plot.comparison(signed, {"nearest": signed.attribution, "usu": maps["usu"]})
    assert scales(figure, "inferno") == []
    (lowest, highest), *others = scales(figure, "RdBu_r")
    assert lowest == -highest < 0
    assert set(others) == {(lowest, highest)}


def test_a_trace_of_ringing_does_not_cost_half_of_the_colours(maps):
    ringing = maps["usu"].copy()
    ringing[0, 0] = -1e-5
    assert plot.colour_limits([ringing]).vmin == 0


def test_one_peak_does_not_set_the_scale():
    peaked = np.ones((100, 100))
    peaked[0, 0] = 1e6
    assert plot.colour_limits([peaked]).vmax == 1


def test_scale_of_a_map_that_is_zero_or_almost():
    assert plot.colour_limits([np.zeros(SIZE)]).vmax == 1
    lone = np.zeros(SIZE)
    lone[3, 3] = 5.0
    assert plot.colour_limits([lone]).vmax == 5


def test_coarse_cells_are_densities_on_the_pixels_of_each_cell(explanation, axis):
    total = plot.coarse_cells(explanation, axis).get_array()
    assert np.allclose(total, explanation.attribution)
    density = plot.coarse_cells(replace(explanation, mass="density"), axis).get_array()
    assert np.allclose(density, 64 * explanation.attribution)


def test_coarse_cells_of_a_grid_that_does_not_divide_the_image(axis):
    import usu

    coarse = np.arange(20.0).reshape(4, 5)
    uneven = replace(make(), coarse=coarse, attribution=np.zeros((10, 13)), mass="density")
    assert np.array_equal(
        plot.coarse_cells(uneven, axis).get_array(), usu.interpolate(coarse, (10, 13), "nearest")
    )


def test_coarse_cells_of_regions(axis):
    regions = labels(1, 2)
    superpixels = replace(make(), coarse=np.array([64.0, 128.0]), neighbourhoods=regions)
    cells = plot.coarse_cells(superpixels, axis)
    assert np.array_equal(np.unique(cells.get_array()), [64 / 192, 128 / 192])
    assert np.array_equal(cells.get_array() > 0.5, regions == 1)


def test_borders_run_between_the_segments_of_the_finest_partition(explanation, axis):
    assert plot.segment_borders(explanation, axis) == 4
    lines = next(one for one in axis.collections if isinstance(one, LineCollection)).get_segments()
    ends = np.concatenate(lines)
    middle = {(x, y) for x, y in ends if x == 11.5 or y == 7.5}
    assert np.abs(np.diff(lines, axis=1)).sum() == SIZE[0] + SIZE[1]
    assert middle == {(x, y) for x, y in ends}


def test_score_map_is_always_from_zero_to_one(explanation, axis):
    assert plot.score_map(replace(explanation, score_map=np.full(SIZE, 0.3)), axis).get_clim() == (0, 1)


def test_overlay_is_transparent_where_nothing_is_attributed(explanation, axis):
    values = np.zeros(SIZE)
    values[:, 12:] = 1.0
    plot.overlay(explanation, axis, values)
    ground, colours = axis.images
    alpha = colours.get_alpha()
    assert (alpha[:, :12] == 0).all()
    assert (alpha[:, 12:] > 0.8).all()
    assert ground.get_cmap().name == "gray"


def test_overlay_with_fixed_opacity(explanation, axis):
    plot.overlay(explanation, axis, alpha=0.5)
    assert axis.images[1].get_alpha() == 0.5


def test_tensors_are_drawn_as_arrays_are(explanation, maps, tmp_path):
    tensors = {
        name: torch.from_numpy(getattr(explanation, name))
        for name in ("attribution", "coarse", "image", "score_map")
    }
    refinements = (refinement([torch.from_numpy(labels) for labels in explanation.partitions]),)
    as_tensors = replace(explanation, refinements=refinements, **tensors)
    one = plot.comparison(explanation, maps)
    other = plot.comparison(as_tensors, {name: torch.from_numpy(values) for name, values in maps.items()})
    assert np.array_equal(drawn(one, tmp_path / "one.png"), drawn(other, tmp_path / "other.png"))


def test_pictures_are_not_blank_and_keep_the_proportions(explanation, maps, tmp_path):
    picture = drawn(plot.comparison(explanation, maps), tmp_path / "comparison.png")
    height, width = picture.shape[:2]
    # Each ninth of the picture shows something.
    for rows in np.array_split(picture, 3):
        for part in np.array_split(rows, 3, axis=1):
            assert part.std() > 10
    assert 1200 < width < 1800
    assert 0.4 < height / width < 0.8


def test_any_number_of_maps_and_any_name(explanation, maps):
    figure = plot.comparison(explanation, {"my own": maps["usu"]})
    assert titles(figure) == [*PANELS, "my own", "USU, overlaid"]
    five = {f"map {number}": maps["usu"] for number in range(5)}
    assert titles(plot.comparison(explanation, five))[4:] == [*five, "USU, overlaid"]
    six = five | {"map 5": maps["usu"]}
    assert titles(plot.comparison(explanation, six))[4:] == [*six, "USU, overlaid", "map 0, overlaid"]


def test_nothing_to_compare(explanation):
    with pytest.raises(ValueError, match="maps is empty"):
        plot.comparison(explanation, {})


def test_a_figure_is_written_whole_or_not_at_all(explanation, tmp_path, monkeypatch):
    path = tmp_path / "overlay.png"
    path.write_bytes(b"the old picture")
    figure = plot.overlay_figure(explanation)

    def fail(file, **_):
        file.write(b"half a picture")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(figure, "savefig", fail)
        with pytest.raises(OSError, match="disk full"):
            plot.save_figure(figure, path)
    assert path.read_bytes() == b"the old picture"
    plot.save_figure(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_other_formats_and_unknown_ones(explanation, tmp_path):
    figure = plot.overlay_figure(explanation)
    plot.save_figure(figure, tmp_path / "overlay.pdf")
    assert (tmp_path / "overlay.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="cartoon"):
        plot.save_figure(figure, tmp_path / "overlay.cartoon")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_matplotlib_names_the_extra():
    program = "import sys; sys.modules['matplotlib'] = None; import usu.plot"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    message = "ImportError: figures need matplotlib: pip install 'usu-xai[plot]', or '.[plot]' in a clone"
    assert run.stderr.splitlines()[-1] == message
