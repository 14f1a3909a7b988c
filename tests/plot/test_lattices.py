"""Figures of signals and volumes: what is drawn is what the record holds."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import usu
from usu.plot import comparison, figure_of, overlay_figure, signal_figure, volume_figure
from usu.report import Entry, html

SIZES = {1: (24,), 2: (12, 12), 3: (10, 8, 12)}


def explained(ndim, channels=3):
    """Explain the sum of the inputs' first half, from a given coarse map."""
    torch.manual_seed(ndim)
    size = SIZES[ndim]
    x, half = torch.rand(channels, *size), size[0] // 2

    def model(batch):
        return torch.stack([batch[:, :, :half].flatten(1).sum(1), batch.flatten(1).sum(1)], 1)

    coarse = torch.rand(*(side // 4 for side in size)) + 0.1
    counts = {"changepoints" if ndim == 1 else "watershed": (4,)}
    return usu.upsample(
        coarse, x, model, 0, ndim=ndim, output="logit", segmentation=counts, class_names=["first half", "all"]
    )


def test_a_signal_stands_over_bands_of_the_map_and_of_linear_interpolation():
    found = explained(1)
    figure = signal_figure(found, channels=(2, 0))
    upper, lower, profiles, *_ = figure.axes
    linear = found.upsampled_by("bilinear").numpy()
    for axis, values in ((upper, found.attribution.numpy()), (lower, linear)):
        np.testing.assert_allclose(axis.images[0].get_array()[0], values, rtol=1e-6)
        assert [text.get_text() for text in axis.get_yticklabels()] == ["channel 2", "channel 0"]
        for line, channel in zip(axis.lines, (2, 0), strict=True):
            drawn, own = line.get_ydata(), found.image[channel].numpy()
            np.testing.assert_allclose(np.corrcoef(drawn, own)[0, 1], 1, rtol=1e-6)
    assert (upper.get_title(), lower.get_title()) == ("Total-conserving", "Linear")
    assert upper.images[0].norm is lower.images[0].norm
    np.testing.assert_allclose(profiles.lines[0].get_ydata(), found.attribution.numpy(), rtol=1e-6)
    assert "first half" in figure.get_suptitle()


def test_a_volume_shows_the_slices_with_most_mass_and_those_asked_for():
    found = explained(3)
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        figure = volume_figure(found, axis=axis, slices=3)
        titles = [panel.get_title() for panel in figure.axes[:3]]
        numbers = [int(re.fullmatch(rf"{name} (\d+)", title)[1]) for title in titles]
        moved = np.moveaxis(found.attribution.numpy(), axis, 0)
        assert int(moved.sum((1, 2)).argmax()) in numbers
        for panel, number in zip(figure.axes[3:6], numbers, strict=True):
            np.testing.assert_allclose(panel.images[1].get_array(), moved[number], rtol=1e-6)
        smooth = np.moveaxis(found.upsampled_by("bilinear").numpy(), axis, 0)
        np.testing.assert_allclose(figure.axes[6].images[1].get_array(), smooth[numbers[0]], rtol=1e-6)
    asked = volume_figure(found, slices=[7, 2])
    assert [panel.get_title() for panel in asked.axes[:2]] == ["axial 7", "axial 2"]
    rows = [panel.get_ylabel() for panel in asked.axes[:6:2]]
    assert rows == ["Input", "Total-conserving", "Trilinear"]


@pytest.mark.parametrize(
    ("figure", "ndim", "options", "message"),
    [
        (signal_figure, 1, {"channels": [3]}, "channels must be among the signal's 3"),
        (signal_figure, 3, {}, "explanation must be of a signal, and is of a volume"),
        (volume_figure, 1, {}, "explanation must be of a volume, and is of a signal"),
        (volume_figure, 3, {"axis": 3}, r"axis must be 0 \(axial\)"),
        (volume_figure, 3, {"slices": 11}, "slices must be from 1 to the volume's 10"),
        (volume_figure, 3, {"slices": [10]}, "slices must be numbers from 0 to 9"),
        (overlay_figure, 1, {}, "this figure is for 2-D pictures only"),
        (overlay_figure, 3, {}, "this figure is for 2-D pictures only"),
    ],
)
def test_what_cannot_be_drawn_is_refused(figure, ndim, options, message):
    with pytest.raises(ValueError, match=message):
        figure(explained(ndim), **options)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_an_explanation_saves_its_own_figure(ndim, tmp_path):
    found = explained(ndim)
    found.save_image(tmp_path / "map.png", dpi=40)
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.width > 200
    assert len(figure_of(found).axes) == {1: 4, 2: 4, 3: 13}[ndim]


@pytest.mark.parametrize("ndim", [1, 3])
def test_the_report_says_in_one_line_that_it_is_for_pictures(ndim):
    found = explained(ndim)
    assert found._repr_html_() is None
    for make in (found.to_html, lambda: html([Entry(found)])):
        with pytest.raises(ValueError, match=r"^the report is for 2-D pictures only: show .*\(\)$"):
            make()
    with pytest.raises(ValueError, match="for 2-D pictures only"):
        comparison(found, {"usu": found.attribution})
