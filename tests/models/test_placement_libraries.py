"""Placements read from Hugging Face's processors, albumentations, open_clip and functions.

Each is held against what the transform does to pictures of coordinates.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from usu.models.placement import Placement

PHOTOGRAPHS = [(130, 180), (180, 131), (61, 97)]


def coordinates(photograph):
    """Return pictures whose grey is the row and the column, from 1 at the first to 255 at the last pixel."""
    ramps = (np.linspace(1, 255, side) for side in photograph)
    rows, columns = np.meshgrid(*ramps, indexing="ij")
    return [
        Image.fromarray(np.repeat(one.round().astype(np.uint8)[..., None], 3, 2)) for one in (rows, columns)
    ]


def check_against(placement, give, photograph):
    """Compare the placement with where a transform puts rows and columns; give returns (h, w) in [0, 255]."""
    top, left, bottom, right = placement.box
    seen = placement.seen
    for axis, picture in enumerate(coordinates(photograph)):
        found = give(picture)
        assert found.shape == placement.network
        low, high = (top, bottom) if axis == 0 else (left, right)
        step = (high - low) / placement.network[axis]
        places = low + (np.arange(placement.network[axis]) + 0.5) * step
        expected = 1 + (places - 0.5) * 254 / (photograph[axis] - 1)
        reach = 2.5 * max(1, step)
        inside = (places > seen[axis] + reach) & (places < seen[axis + 2] - reach)
        across = found[:, found.shape[1] // 2] if axis == 0 else found[found.shape[0] // 2]
        assert inside.sum() > 10
        assert_allclose(across[inside], expected[inside], atol=1.6)
        shown = (places > seen[axis]) & (places < seen[axis + 2])
        assert_array_equal(across > 0.5, shown)


# --- Hugging Face


def processors():
    return {
        "ViTImageProcessor": {"size": {"height": 64, "width": 48}},
        "CLIPImageProcessor": {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 57}},
        "padded": {"size": {"shortest_edge": 50}, "crop_size": {"height": 77, "width": 64}},
        "DeiTImageProcessor": {
            "size": {"height": 80, "width": 80},
            "crop_size": {"height": 63, "width": 64},
        },
        "ConvNextImageProcessor": {"size": {"shortest_edge": 64}, "crop_pct": 0.8},
        "ConvNextImageProcessor, large": {"size": {"shortest_edge": 384}},
        "LevitImageProcessor": {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}},
        "EfficientNetImageProcessor": {"size": {"height": 70, "width": 90}, "include_top": False},
        "MobileViTImageProcessor": {
            "size": {"shortest_edge": 64},
            "crop_size": {"height": 72, "width": 64},
        },
        "DetrImageProcessor": {"size": {"shortest_edge": 80, "longest_edge": 100}},
        "YolosImageProcessor": {"size": {"shortest_edge": 80, "longest_edge": 100}},
        "SiglipImageProcessor": {
            "size": {"shortest_edge": 80, "longest_edge": 100},
            "do_pad": True,
            "pad_size": {"height": 110, "width": 120},
        },
    }


def make_processor(kind, suffix=""):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    name = "CLIPImageProcessor" if kind == "padded" else kind.partition(",")[0]
    made = getattr(transformers, name + suffix, None)
    if made is None:
        pytest.skip(f"this transformers has no {name}{suffix}")
    return made(**processors()[kind])


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize("suffix", ["", "Pil"])
@pytest.mark.parametrize("kind", processors())
def test_agrees_with_hugging_face(kind, suffix, photograph):
    processor = make_processor(kind, suffix)

    def give(picture):
        made = processor(images=picture, do_normalize=False, do_rescale=False, return_tensors="np")
        return np.asarray(made["pixel_values"][0][0], dtype=np.float64)

    check_against(Placement.of(processor, photograph), give, photograph)


def test_a_processor_of_texts_and_images_is_read_by_its_part_for_images():
    class Both:
        image_processor = make_processor("CLIPImageProcessor")

    assert Placement.of(Both(), (130, 180)) == Placement.of(Both.image_processor, (130, 180))


def test_processors_that_do_more_are_named():
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    with pytest.raises(ValueError, match=r"where DonutImageProcessor puts .* it has do_thumbnail: build the"):
        Placement.of(transformers.DonutImageProcessor(), (130, 180))

    class Own(transformers.ViTImageProcessor):
        def resize(self, image, size, **options):
            return super().resize(image, size, **options)

    with pytest.raises(ValueError, match=r"where Own puts .* it resizes in a way of its own"):
        Placement.of(Own(), (130, 180))

    class Turning(transformers.ViTImageProcessor):
        def center_crop(self, image, size, **options):
            return image

    wrong = Turning(do_center_crop=True, crop_size={"height": 9, "width": 9})
    with pytest.raises(
        ValueError, match=r"it makes \(224, 224\) of \(130, 180\), where its settings say \(9, 9\)"
    ):
        Placement.of(wrong, (130, 180))


# --- albumentations


@pytest.fixture(scope="module")
def albums():
    return pytest.importorskip("albumentations", reason="needs albumentations: pip install albumentations")


ALBUMS = {
    "squashed": lambda a: [a.Resize(50, 90), a.Normalize()],
    "shorter side": lambda a: [a.SmallestMaxSize(64), a.CenterCrop(57, 56), a.ToFloat()],
    "longer side, padded": lambda a: [a.LongestMaxSize(64), a.PadIfNeeded(70, 81), a.ToGray(p=0.5)],
    "padded at the end": lambda a: [a.LongestMaxSize(64), a.PadIfNeeded(70, 81, position="top_left")],
    "cut out": lambda a: [a.Crop(10, 5, 60, 58), a.Pad((3, 4, 5, 6)), a.GaussianBlur(p=0)],
    "nested": lambda a: [a.Sequential([a.Resize(80, 80), a.CenterCrop(61, 61)], p=1.0)],
}


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize("steps", ALBUMS)
def test_agrees_with_albumentations(albums, steps, photograph):
    geometry = albums.Compose([one for one in ALBUMS[steps](albums) if not is_photometric(albums, one)])

    def give(picture):
        return geometry(image=np.asarray(picture))["image"][..., 0].astype(float)

    placement = Placement.of(albums.Compose(ALBUMS[steps](albums)), photograph)
    check_against(placement, give, photograph)


def is_photometric(albums, step):
    return isinstance(step, albums.ImageOnlyTransform)


def test_albums_random_steps_are_named(albums):
    for step, words in (
        (albums.HorizontalFlip(p=0.5), r"HorizontalFlip\(p=0\.5\) puts the photograph's pixels is random"),
        (albums.Rotate(p=1.0), "Rotate.* is not known"),
        (albums.RandomCrop(8, 8), "RandomCrop.* is not known"),
        (albums.LongestMaxSize([8, 16]), "LongestMaxSize.* is random"),
        (albums.PadIfNeeded(8, 8, position="random"), "PadIfNeeded.* is random"),
        (albums.CoarseDropout(p=1.0), "CoarseDropout.* is not known"),
    ):
        with pytest.raises(ValueError, match=words):
            Placement.of(albums.Compose([albums.Resize(9, 9), step]), (20, 30))


# --- open_clip


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_agrees_with_open_clip(mode):
    clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install open_clip_torch")
    transform = clip.image_transform(
        (64, 64) if mode == "squash" else 64,
        is_train=False,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize_mode=mode,
    )
    for photograph in PHOTOGRAPHS:
        placement = Placement.of(transform, photograph)
        check_against(placement, lambda picture: 255 * transform(picture)[0].numpy(), photograph)


# --- functions among known steps


def to_grey(image):
    return image.convert("L").convert("RGB")


def standardised(tensor):
    return (tensor - tensor.mean()) / tensor.std()


HARMLESS = {
    "before, on Pillow's images": [to_grey, v1.Resize(64), v1.CenterCrop(56)],
    "torchvision's Lambda": [v1.Lambda(lambda image: image.convert("RGB")), v1.Resize(64), v1.CenterCrop(56)],
    "after, on tensors": [v2.Resize(64), v2.CenterCrop(56), v1.ToTensor(), lambda x: x * 2 - 1, standardised],
    "v2's Lambda": [v2.Resize(64), v2.CenterCrop(56), v1.ToTensor(), v2.Lambda(lambda x: x[None] / 2)],
    "to an array": [v1.Resize(64), v1.CenterCrop(56), np.asarray],
    "to planes": [v1.Resize(64), v1.CenterCrop(56), lambda image: np.asarray(image).transpose(2, 0, 1)],
}


@pytest.mark.parametrize("steps", HARMLESS)
def test_functions_that_move_nothing_are_passed(steps):
    expected = Placement.whole((130, 180)).resize((64, 88)).center_crop(56)
    assert Placement.of(v1.Compose(HARMLESS[steps]), (130, 180)) == expected
    assert Placement.of(HARMLESS[steps], (130, 180)) == expected


MOVING = {
    "crops": lambda image: image.crop((0, 0, 20, 20)),
    "flips": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turns": lambda tensor: torch.rot90(tensor, 2, (1, 2)),
    "shifts": lambda tensor: tensor.roll(1, 2),
    "scales": lambda image: image.resize((64, 64)),
    "pads": lambda tensor: nn.functional.pad(tensor, (1, 1, 1, 1)),
    "erases": lambda tensor: tensor * 0,
}


@pytest.mark.parametrize("step", MOVING)
def test_functions_that_move_pixels_are_named(step):
    with pytest.raises(ValueError, match=r"where <function <lambda> .*was tried, and it moves them: write"):
        Placement.of(v1.Compose([v1.Resize((40, 50)), MOVING[step]]), (130, 180))


def test_functions_that_cannot_be_tried_are_named():
    def broken(image):
        raise KeyError("label")

    with pytest.raises(
        ValueError, match=r"where <function .*broken.* could not be tried, since it fails on noise"
    ):
        Placement.of(v1.Compose([broken, v1.Resize((40, 50))]), (130, 180))
