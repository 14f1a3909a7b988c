"""Placements against hand-worked cases, an exact slow version, and the transforms of torchvision and timm."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps
from torch import nn
from torch.autograd import gradcheck
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

from usu.models.placement import Placement
from usu.operators.lattice import cell_lengths


def draw(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# Hand-worked cases


def test_an_input_smaller_than_the_photograph_is_spread():
    placement = Placement.whole((2, 4)).resize((1, 2))
    assert_array_equal(placement.to_photograph([[4.0, 8.0]]), [[1, 1, 2, 2], [1, 1, 2, 2]])


def test_an_input_larger_than_the_photograph_is_gathered():
    placement = Placement.whole((1, 2)).resize((2, 4))
    assert_array_equal(placement.to_photograph([[1.0, 2, 3, 4], [5, 6, 7, 8]]), [[14, 22]])


def test_pixels_that_do_not_nest_are_shared_by_area():
    # Two pixels over three: each covers one and a half of them.
    placement = Placement.whole((1, 3)).resize((1, 2))
    assert_allclose(placement.to_photograph([[3.0, 6.0]]), [[2, 3, 4]], rtol=1e-15)
    placement = Placement.whole((1, 2)).resize((1, 3))
    assert_allclose(placement.to_photograph([[3.0, 6.0, 9.0]]), [[6, 12]], rtol=1e-15)


def test_what_a_crop_left_out_is_zero():
    placement = Placement.whole((3, 6)).center_crop((1, 2)).resize((1, 1))
    assert placement.box == placement.seen == (1, 2, 2, 4)
    assert_array_equal(placement.to_photograph([[5.0]]), [[0] * 6, [0, 0, 2.5, 2.5, 0, 0], [0] * 6])


def test_a_pixel_that_reaches_into_padding_gives_all_its_mass_to_what_is_seen():
    # Padded by one pixel above and below, then halved: both rows are half padding, half photograph.
    placement = Placement.whole((2, 2)).pad(0, 1, 0, 1).resize((2, 1))
    assert placement.box == (-1, 0, 3, 2)
    assert placement.seen == (0, 0, 2, 2)
    assert_array_equal(placement.to_photograph([[4.0], [6.0]]), [[2, 2], [3, 3]])


def test_mass_on_padding_alone_is_refused_or_dropped_and_told():
    placement = Placement.letterbox((1, 3), (3, 3))
    attribution = np.array([[1.0, 0, 0], [2, 3, 4], [0, -6, 0]])
    with pytest.raises(ValueError, match=r"43\.8% of its absolute mass on padding"):
        placement.to_photograph(attribution)
    assert_array_equal(placement.to_photograph(attribution, padding="drop"), [[2, 3, 4]])
    assert placement.padding_mass(attribution) == -5
    attribution[[0, 2]] = 0
    assert_array_equal(placement.to_photograph(attribution), [[2, 3, 4]])


def test_padding_after_a_crop_hides_what_was_there():
    placement = Placement.whole((1, 6)).crop(0, 2, 1, 2).pad(1, 0, 1, 0)
    assert placement.box == (0, 1, 1, 5)
    assert placement.seen == (0, 2, 1, 4)
    mapped = placement.to_photograph([[9.0, 1.0, 2.0, 9.0]], padding="drop")
    assert_array_equal(mapped, [[0, 0, 1, 2, 0, 0]])


def test_letterbox_by_hand():
    assert Placement.letterbox((100, 200), 40).box == (-50, 0, 150, 200)
    assert Placement.letterbox((100, 200), (50, 200)).box == (0, -100, 100, 300)
    # 5 × 9 pixels become 10 × 18 of 11 × 18: the odd row of padding lies below.
    assert Placement.letterbox((5, 9), (11, 18)).box == (0, 0, 5.5, 9)
    # A sliver keeps one pixel.
    assert Placement.letterbox((1, 100), 10).network == (10, 10)


# An exact slow version


def slowly(placement, attribution):
    """Share by the areas of rectangles, in exact fractions, one pair of pixels after another."""
    box, seen = (
        [Fraction(edge).limit_denominator(10**6) for edge in part] for part in (placement.box, placement.seen)
    )
    height, width = placement.network
    tall, wide = (box[2] - box[0]) / height, (box[3] - box[1]) / width
    result = [[Fraction(0)] * placement.photograph[1] for _ in range(placement.photograph[0])]
    dropped = Fraction(0)
    for row in range(height):
        for column in range(width):
            mass = Fraction(float(attribution[row, column]))
            top, left = box[0] + row * tall, box[1] + column * wide
            areas = {}
            for y in range(placement.photograph[0]):
                for x in range(placement.photograph[1]):
                    high = min(y + 1, top + tall, seen[2]) - max(y, top, seen[0])
                    broad = min(x + 1, left + wide, seen[3]) - max(x, left, seen[1])
                    if high > 0 and broad > 0:
                        areas[y, x] = high * broad
            for (y, x), area in areas.items():
                result[y][x] += mass * area / sum(areas.values())
            dropped += 0 if areas else mass
    return np.array([[float(mass) for mass in row] for row in result]), float(dropped)


@st.composite
def placements(draw, most=7):
    """Draw a chain of up to four resizes, crops, centre crops and paddings of a small photograph."""
    size = st.tuples(st.integers(1, most), st.integers(1, most))
    placement = Placement.whole(draw(size))
    for verb in draw(st.lists(st.sampled_from(["resize", "crop", "center_crop", "pad"]), max_size=4)):
        try:
            if verb == "pad":
                placement = placement.pad(*draw(st.tuples(*[st.integers(0, 3)] * 4)))
            elif verb == "crop":
                corner = [draw(st.integers(-2, side - 1)) for side in placement.network]
                placement = placement.crop(*corner, *draw(size))
            else:
                placement = getattr(placement, verb)(draw(size))
        except ValueError as problem:
            assert "shows nothing of the photograph" in str(problem)  # noqa: PT017
            assume(False)
    return placement


@settings(max_examples=60)
@given(placements(), st.integers(0, 99))
def test_agrees_with_the_exact_version(placement, seed):
    attribution = draw(*placement.network, seed=seed)
    expected, dropped = slowly(placement, attribution)
    mapped = placement.to_photograph(attribution, padding="drop")
    assert_allclose(mapped, expected, rtol=1e-9, atol=1e-9)
    assert_array_equal(mapped == 0, expected == 0)
    assert_allclose(placement.padding_mass(attribution), dropped, rtol=1e-12, atol=1e-12)


# Conservation


@settings(max_examples=80)
@given(placements(most=30), st.integers(0, 99), st.sampled_from([(np.float32, 1e-6), (np.float64, 1e-12)]))
def test_mass_is_conserved_and_nothing_lies_outside(placement, seed, precision):
    dtype, tolerance = precision
    attribution = draw(2, *placement.network, seed=seed, dtype=dtype)
    mapped = placement.to_photograph(attribution, padding="drop")
    assert mapped.shape == (2, *placement.photograph)
    assert mapped.dtype == dtype
    scale = np.abs(attribution).sum((1, 2), dtype=np.float64)
    total = mapped.sum((1, 2), dtype=np.float64) + placement.padding_mass(attribution)
    assert_allclose(total / scale, attribution.sum((1, 2), dtype=np.float64) / scale, rtol=0, atol=tolerance)
    (top, left), (bottom, right) = (
        np.floor(np.add(placement.seen[:2], 1e-6)),
        np.ceil(np.subtract(placement.seen[2:], 1e-6)),
    )
    y, x = np.mgrid[: placement.photograph[0], : placement.photograph[1]]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    assert not mapped[:, ~inside].any()


@pytest.mark.parametrize("photograph", [(240, 320), (433, 141), (97, 130)])
def test_every_cell_keeps_its_mass_at_the_size_of_the_photograph(photograph):
    placement = Placement.of(v2.Compose([v2.Resize(256), v2.CenterCrop(224)]), photograph)
    attribution = np.abs(draw(224, 224, dtype=np.float32))
    cells = np.repeat(np.arange(7), cell_lengths(224, 7))
    alone = np.where(cells[:, None] * 7 + cells == np.arange(49)[:, None, None], attribution, 0)
    mapped = placement.to_photograph(alone).sum((1, 2), dtype=np.float64)
    assert_allclose(mapped, alone.sum((1, 2), dtype=np.float64), rtol=1e-6)


def test_the_whole_photograph_at_its_own_size_is_returned_as_it_is():
    attribution = draw(5, 7, dtype=np.float32)
    assert_array_equal(Placement.whole((5, 7)).to_photograph(attribution), attribution)


# Kinds, batches, gradients


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_returns_the_callers_kind_and_batch(device, dtype):
    placement = Placement.whole((9, 7)).resize((6, 6)).crop(1, 0, 4, 5)
    attribution = torch.from_numpy(draw(2, 3, 4, 5)).to(device, dtype)
    mapped = placement.to_photograph(attribution)
    assert (mapped.shape, mapped.dtype, mapped.device) == ((2, 3, 9, 7), dtype, attribution.device)
    assert placement.padding_mass(attribution).shape == (2, 3)
    single = placement.to_photograph(attribution[1, 2].double().cpu().numpy())
    assert isinstance(single, np.ndarray)
    tolerance = 2 * torch.finfo(dtype).eps
    assert_allclose(mapped[1, 2].double().cpu(), single, rtol=tolerance, atol=tolerance)


def test_is_differentiable(device):
    placement = Placement.letterbox((4, 7), (5, 5))
    attribution = torch.from_numpy(draw(2, 5, 5)).to(device).requires_grad_()
    assert gradcheck(lambda values: placement.to_photograph(values, padding="drop"), attribution)
    assert gradcheck(placement.padding_mass, attribution)


def test_a_placement_survives_json_and_cannot_be_changed():
    placement = Placement.letterbox((101, 67), (33, 47))
    assert Placement(**json.loads(json.dumps(dataclasses.asdict(placement)))) == placement
    with pytest.raises(dataclasses.FrozenInstanceError):
        placement.network = (1, 1)


# The real transforms


def ramps(photograph):
    """Return a picture whose value is the y of its pixels' centres, and one whose value is x."""
    y, x = np.mgrid[: photograph[0], : photograph[1]] + np.float32(0.5)
    return Image.fromarray(y.astype(np.float32)), Image.fromarray(x.astype(np.float32))


def check_against(transform, photograph):
    """Send coordinates through the transform: where no border is near, each pixel must hold its own place.

    A symmetric kernel keeps a linear ramp, sampled ones all but a tenth of a pixel.
    """
    placement = Placement.of(transform, photograph)
    found = [np.squeeze(np.asarray(transform(ramp))) for ramp in ramps(photograph)]
    assert found[0].shape == placement.network
    height, width = placement.network
    top, left, bottom, right = placement.box
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    # Cubic kernels, widened when shrinking, reach two pixels far.
    reach_y, reach_x = 2.5 * max(1, (bottom - top) / height), 2.5 * max(1, (right - left) / width)
    top, left, bottom, right = placement.seen
    rows, columns = (
        (y > top + reach_y) & (y < bottom - reach_y),
        (x > left + reach_x) & (x < right - reach_x),
    )
    assert rows.any()
    assert columns.any()
    inside = np.ix_(rows, columns)
    assert_allclose(found[0][inside], np.broadcast_to(y[:, None], found[0].shape)[inside], atol=0.1)
    assert_allclose(found[1][inside], np.broadcast_to(x, found[1].shape)[inside], atol=0.1)
    blank = (found[0] == 0) & (found[1] == 0)
    shown = ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
    assert_array_equal(~blank, shown)


PHOTOGRAPHS = [(130, 180), (180, 131), (61, 97)]
GEOMETRIES = {
    "shorter side": lambda t: [t.Resize(64), t.CenterCrop(56)],
    "longest side": lambda t: [t.Resize(60, max_size=70), t.CenterCrop((80, 75))],
    "squashed": lambda t: [t.Resize((50, 90)), t.CenterCrop([47])],
    "enlarged": lambda t: [t.Resize(256), t.CenterCrop((223, 224))],
    "cropped first": lambda t: [t.CenterCrop((60, 59)), t.Resize(100)],
    "padded by one number": lambda t: [t.Resize((64, 64)), t.Pad(3)],
    "padded by two": lambda t: [t.Pad((4, 7))],
    "padded by four": lambda t: [t.Resize(50), t.Pad((4, 7, 0, 1))],
    "cropped, then padded": lambda t: [t.CenterCrop(50), t.Pad(9), t.CenterCrop((61, 90))],
    "only cropped": lambda t: [t.CenterCrop((41, 44))],
}


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize("version", [v1, v2])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_agrees_with_torchvision(photograph, version, geometry):
    check_against(version.Compose(GEOMETRIES[geometry](version)), photograph)


def test_containers_nest_and_most_transforms_move_nothing():
    photograph = (130, 180)
    tensors = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
    nested = v2.Compose(
        [nn.Sequential(v1.Resize(64), nn.Identity()), v2.CenterCrop(56), v2.Grayscale(), tensors]
    )
    assert Placement.of(nested, photograph) == Placement.whole(photograph).resize((64, 88)).center_crop(56)
    longest = v2.Compose([v2.Resize(None, max_size=64), v2.CenterCrop(64)])
    check_against(longest, photograph)


@settings(max_examples=100)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.one_of(st.integers(1, 60), st.tuples(st.integers(1, 60), st.integers(1, 60))),
    st.one_of(st.none(), st.integers(1, 90)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_sizes_are_torchvisions(photograph, size, max_size, crop):
    if max_size is not None:
        assume(isinstance(size, int) and max_size > size)
    try:
        resized = v1.Resize(size, max_size=max_size, antialias=True)(torch.zeros(1, *photograph))
        transform = v1.Compose([v1.Resize(size, max_size=max_size), v1.CenterCrop(crop)])
    except RuntimeError:  # a side of no pixel
        assume(False)
    assert Placement.of(transform.transforms[0], photograph).network == resized.shape[-2:]
    assert Placement.of(transform, photograph).network == crop


@pytest.mark.parametrize("weights", [models.ResNet50_Weights.IMAGENET1K_V2, models.ViT_B_16_Weights.DEFAULT])
def test_agrees_with_torchvisions_presets(weights):
    preset, photograph = weights.transforms(), (480, 641)
    placement = Placement.of(preset, Image.new("RGB", photograph[::-1]))
    preset.mean, preset.std = [0.0], [1.0]
    assert placement == Placement.of(preset, photograph)
    found = [preset(torch.from_numpy(np.array(ramp))[None])[0].numpy() for ramp in ramps(photograph)]
    height, width = placement.network
    top, left, bottom, right = placement.box
    assert_allclose(found[0][:, 9], top + (np.arange(height) + 0.5) * (bottom - top) / height, atol=1)
    assert_allclose(found[1][9], left + (np.arange(width) + 0.5) * (right - left) / width, atol=1)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"input_size": (1, 48, 80)},
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"crop_mode": "border", "input_size": (1, 90, 64), "crop_pct": 1.0},
        {"crop_border_pixels": 8},
    ],
)
def test_agrees_with_timm(photograph, options):
    data = pytest.importorskip("timm.data")
    arguments = {"input_size": 64, "mean": (0.0,), "std": (1.0,)} | options
    check_against(data.create_transform(**arguments, is_training=False), photograph)


@pytest.mark.parametrize("photograph", [(130, 180), (300, 199), (61, 97)])
@pytest.mark.parametrize("network", [(64, 64), (128, 96)])
def test_letterbox_agrees_with_pillow(photograph, network):
    picture = Image.new("L", photograph[::-1], 255)
    padded = np.asarray(ImageOps.pad(picture, network[::-1])) > 127
    rows, columns = (np.flatnonzero(padded.any(axis)) for axis in (1, 0))
    placement = Placement.letterbox(photograph, network)
    assert placement.seen == (0, 0, *photograph)
    top, left, bottom, right = placement.box
    tall, wide = (bottom - top) / network[0], (right - left) / network[1]
    # Pillow puts an odd row of padding on either side: half of it apart at most.
    expected = (-top / tall, -left / wide, (photograph[0] - top) / tall, (photograph[1] - left) / wide)
    assert_allclose((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1), expected, atol=1)


@pytest.mark.parametrize("place", [(40, 60), (92, 138), (71, 121)])
@pytest.mark.parametrize(
    "transform",
    [
        v1.Compose([v1.Resize(64), v1.CenterCrop(56), v1.ToTensor()]),
        v2.Compose([v2.Resize(224), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
        v2.Compose([v2.Resize(None, max_size=96), v2.CenterCrop(96), v2.PILToTensor()]),
        v2.Compose([v2.Pad((0, 25)), v2.Resize(90), v2.ToImage()]),
    ],
)
def test_a_bright_spot_comes_back_to_its_place(device, place, transform):
    pixels = np.zeros((130, 180, 3), np.uint8)
    y, x = place
    pixels[y - 3 : y + 3, x - 3 : x + 3] = 255
    photograph = Image.fromarray(pixels)
    inputs = transform(photograph).to(device)
    seen = inputs.double().mean(0)
    mapped = Placement.of(transform, photograph).to_photograph(seen).cpu().numpy()
    assert_allclose(mapped.sum(), seen.sum().item(), rtol=1e-12)
    rows, columns = np.mgrid[:130, :180] + 0.5
    assert_allclose((mapped * rows).sum() / mapped.sum(), y, atol=0.5)
    assert_allclose((mapped * columns).sum() / mapped.sum(), x, atol=0.5)
    assert mapped[y - 8 : y + 8, x - 8 : x + 8].sum() > 0.97 * mapped.sum()


# Bad input


def refuse(value):
    return value


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (v1.RandomResizedCrop(8), "RandomResizedCrop"),
        (v2.Compose([v2.Resize(8), v2.RandomHorizontalFlip()]), "RandomHorizontalFlip"),
        (v1.Compose([v1.FiveCrop(3)]), "FiveCrop"),
        (refuse, "refuse"),
    ],
)
def test_transforms_that_are_not_known_are_named(transform, name):
    with pytest.raises(ValueError, match=rf"where .*{name}.*step by step"):
        Placement.of(transform, (9, 9))


def test_timms_random_transforms_are_named():
    transforms = pytest.importorskip("timm.data.transforms")
    with pytest.raises(ValueError, match="RandomResizedCropAndInterpolation"):
        Placement.of(transforms.RandomResizedCropAndInterpolation(8), (9, 9))
    with pytest.raises(ValueError, match=r"ResizeKeepRatio.* is random"):
        Placement.of(transforms.ResizeKeepRatio(8, random_scale_prob=0.5), (9, 9))


@pytest.mark.parametrize(
    ("attribution", "message"),
    [
        (np.ones((4, 5)), r"attribution must be \(\.\.\., 4, 4\).*got \(4, 5\)"),
        (np.ones(4), r"attribution must be"),
        (np.full((4, 4), np.nan), "attribution must be finite"),
        (np.full((4, 4), 6e4, np.float16), "attribution has values too large for a result in float16"),
    ],
)
def test_maps_that_do_not_fit_are_refused(attribution, message):
    with pytest.raises(ValueError, match=message):
        Placement.whole((2, 2)).resize((4, 4)).to_photograph(attribution)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Placement.whole((0, 4)), ValueError, "photograph must be at least 1 × 1"),
        (lambda: Placement.whole(4), TypeError, r"photograph must be two integers .*got 4"),
        (lambda: Placement.whole((4, 4, 3)), TypeError, "photograph must be two integers"),
        (lambda: Placement.whole((4.0, 4)), TypeError, "photograph must be two integers"),
        (lambda: Placement.letterbox((4, 4), None), TypeError, "network must be two integers"),
        (lambda: Placement.whole((4, 4)).resize((4, 0)), ValueError, "size must be at least"),
        (lambda: Placement.whole((4, 4)).crop(4, 0, 2, 2), ValueError, "shows nothing of the photograph"),
        (lambda: Placement.whole((4, 4)).crop(0, 0, 0, 2), ValueError, "a crop's size must be at least"),
        (lambda: Placement.whole((4, 4)).crop("0", 0, 2, 2), TypeError, "top must be a number"),
        (lambda: Placement.whole((4, 4)).pad(-2, 0, -2, 0), ValueError, "a crop's size must be at least"),
        (lambda: Placement((4, 4), (2, 2), (0, 0, 4), (0, 0, 4, 4)), TypeError, "box must be four numbers"),
        (
            lambda: Placement((4, 4), (2, 2), (0, 4, 4, 0), (0, 0, 4, 4)),
            ValueError,
            "box must have top < bot",
        ),
        (lambda: Placement((4, 4), (2, 2), (0, 0, 4, 9), (0, 0, 4, 9)), ValueError, "seen must lie inside"),
        (
            lambda: Placement.whole((2, 2)).to_photograph(np.ones((2, 2)), padding="keep"),
            ValueError,
            "padding",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
