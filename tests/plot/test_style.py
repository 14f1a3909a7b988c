"""Figures of one explanation: its colours, words in their room, sizes for a paper, the network's crop."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import usu
from tests.helpers import reports
from usu import plot


def colour_maps(figure: Figure) -> set[str]:
    drawn = [image for axis in figure.axes for image in axis.images]
    bars = [part for axis in figure.axes for part in axis.collections if isinstance(part, QuadMesh)]
    return {one.get_cmap().name for one in (*drawn, *bars)} - {"gray", "cividis", "viridis"}


def maps_of(record: usu.Explanation) -> dict[str, object]:
    return {name: record.upsampled_by(name) for name in ("bicubic", "usu", "iwmr", "hybrid")}


@pytest.mark.parametrize("make", [reports.signed, reports.positive])
def test_one_explanation_has_one_colour_map_in_all_its_figures(make):
    record = make()
    expected = {"RdBu_r"} if make is reports.signed else {"inferno"}
    maps = maps_of(record)
    assert float(np.asarray(maps["bicubic"]).min()) < 0  # by ringing, at least
    assert colour_maps(plot.comparison(record, maps)) == expected
    assert colour_maps(plot.overlay_figure(record)) == expected


def test_bilinear_stands_beside_the_map_on_the_same_scale():
    record = reports.positive()
    figure = plot.overlay_figure(record)
    own, bilinear = (axis.images[-1] for axis in figure.axes[1:3])
    assert np.array_equal(own.get_array(), record.attribution)
    assert np.allclose(bilinear.get_array(), record.upsampled_by("bilinear"))
    both = np.abs([own.get_array(), bilinear.get_array()])
    assert own.get_clim() == bilinear.get_clim() == (0, pytest.approx(np.quantile(both, 0.98)))
    cells = plot.overlay_figure(reports.superpixels())
    assert [axis.get_title() for axis in cells.axes[:3]] == ["Input", "USU", "Nearest neighbour"]


def test_caption_says_how_the_map_was_made_and_what_it_keeps():
    record = reports.positive()
    words = plot.overlay_figure(record).get_supxlabel()
    assert words.startswith("map: Hybrid  ·  ε = 0.2  ·  12 × 16 cells  ·  D1 error ")
    sums = np.asarray(record.attribution, float).reshape(12, 4, 16, 4).sum((1, 3))
    masses = np.asarray(record.coarse, float) * 16
    error = np.abs(sums - masses).mean() / np.abs(masses).mean()
    assert float(words.split("D1 error ")[1].split()[0]) == pytest.approx(error, rel=0.06)
    continuous = replace(record, settings={**record.settings, "continuous": True})
    assert "Hybrid, continuous" in plot.overlay_figure(continuous).get_supxlabel()


@pytest.mark.parametrize("count", [1, 2, 4, 7, 10, 16])
def test_titles_fit_their_panels(count):
    record = reports.positive()
    maps = {f"an upsampler with quite a long name, {number}": record.attribution for number in range(count)}
    figure = plot.comparison(record, maps, class_name="a class whose name is long as well " * 3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axis in figure.axes[: 5 + count]:
        panel, title = axis.get_window_extent(renderer), axis.title.get_window_extent(renderer)
        assert title.width <= 1.05 * panel.width
    headline = figure._suptitle.get_window_extent(renderer)
    assert headline.x0 >= 0
    assert headline.x1 <= figure.bbox.x1
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert all(axis.axison and axis.images for axis in panels)
    assert len({axis.title.get_fontsize() for axis in panels}) == 1
    bottom = min(axis.get_position().y0 for axis in panels)
    last = [axis for axis in panels if axis.get_position().y0 < bottom + 0.01]
    assert len(panels) % len(last) == 0  # rows are full


@pytest.mark.parametrize(("size", "width"), [("column", 3.35), ("page", 6.9)])
def test_publication_has_a_papers_width_and_text_as_text(size, width, tmp_path):
    before = dict(mpl.rcParams)
    with plot.publication(size):
        figure = plot.overlay_figure(reports.positive(), class_name="lynx")
        plot.save_figure(figure, tmp_path / "map.svg")
    assert figure.get_size_inches()[0] == pytest.approx(width)
    text = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert ">Bilinear</text>" in text
    assert "lynx, probability" in text
    saved = float(text.split('width="')[1].split("pt")[0]) / 72
    assert width * 0.75 < saved < width * 1.02
    assert dict(mpl.rcParams) == before
    assert plot.overlay_figure(reports.positive()).get_size_inches()[0] > 9


def test_comparison_does_not_fit_into_a_column():
    record = reports.positive()
    with plot.publication("page"):
        assert plot.comparison(record, maps_of(record)).get_size_inches()[0] == pytest.approx(6.9)
    with (
        plot.publication(),
        pytest.raises(ValueError, match=r"does not fit into 3\.35 inches"),
    ):
        plot.comparison(record, maps_of(record))
    with pytest.raises(ValueError, match="size must be one of"), plot.publication("poster"):
        pass


def test_photograph_shows_a_frame_around_what_the_network_saw():
    placement = usu.Placement.whole((60, 96)).center_crop((48, 64))
    record = replace(reports.positive(), placement=placement)
    shown = replace(record, image=torch.rand(3, 60, 96), attribution=record.to_original_size())
    figure = plot.overlay_figure(record, photograph=shown.image)
    assert np.array_equal(figure.axes[1].images[-1].get_array(), shown.attribution)
    assert "D1 error" in figure.get_supxlabel()
    assert figure.axes[1].images[-1].get_clim() == plot.overlay_figure(record).axes[1].images[-1].get_clim()
    for wrong in (record, replace(record, placement=None)):
        with pytest.raises(ValueError, match="photograph must be"):
            plot.overlay_figure(wrong, photograph=torch.rand(3, 48, 64))
    figure = plot.overlay_figure(shown)
    bilinear = figure.axes[2].images[-1].get_array()
    assert np.allclose(bilinear[6:54, 16:80], record.upsampled_by("bilinear"), atol=1e-7)
    for axis in figure.axes[:3]:
        frames = [one for one in axis.patches if isinstance(one, Rectangle) and one.get_linewidth() > 0]
        assert {(one.get_xy(), one.get_width(), one.get_height()) for one in frames} == {
            ((15.5, 5.5), 64.0, 48.0)
        }
        hatched = [one for one in axis.patches if one.get_hatch()]
        area = sum(one.get_width() * one.get_height() for one in hatched)
        assert area == 60 * 96 - 48 * 64
    assert "frame: what the network saw" in figure.get_supxlabel()
    assert not plot.overlay_figure(record).axes[0].patches
    with pytest.raises(ValueError, match="explanation must have a placement"):
        plot.frame_seen(reports.positive(), Figure().subplots())
