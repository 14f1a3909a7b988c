"""Every kind of picture becomes upright RGB; everything else is one line that names the file."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from usu.models.images import _boxes, read_image

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
COLOURS = np.stack([RAMP, RAMP[::-1], 255 - RAMP], -1)


def saved(folder: Path, image: Image.Image, name: str = "picture.png", **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_comes_back_as_it_is(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLOURS))
    assert (pixels(path) == COLOURS).all()
    assert (pixels(str(path)) == COLOURS).all()


def test_alpha_is_laid_over_white(tmp_path):
    alpha = np.zeros((12, 20, 1), np.uint8)
    alpha[:, 10:] = 255
    path = saved(tmp_path, Image.fromarray(np.concatenate([COLOURS, alpha], -1)))
    read = pixels(path)
    assert (read[:, :10] == 255).all()
    assert (read[:, 10:] == COLOURS[:, 10:]).all()


def test_half_transparent_black_is_mid_grey(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (3, 2), (0, 0, 0, 128)))
    assert (np.abs(pixels(path).astype(int) - 127) <= 1).all()


def test_grey_with_alpha(tmp_path):
    image = Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (20, 12), 0)])
    assert (pixels(saved(tmp_path, image)) == 255).all()


def test_grey(tmp_path):
    assert (pixels(saved(tmp_path, Image.fromarray(RAMP))) == RAMP[..., None]).all()


def test_bilevel(tmp_path):
    image = Image.fromarray(RAMP).point(lambda value: 255 * (value > 99), mode="1")
    assert set(np.unique(pixels(saved(tmp_path, image)))) == {0, 255}


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_keeps_its_brightness(tmp_path, name):
    deep = RAMP.astype(np.uint16) * 257
    assert (pixels(saved(tmp_path, Image.fromarray(deep), name)) == RAMP[..., None]).all()


def test_float_grey_in_the_unit_interval(tmp_path):
    image = Image.fromarray(RAMP.astype(np.float32) / 255)
    assert (pixels(saved(tmp_path, image, "unit.tif")) == RAMP[..., None]).all()


def test_float_grey_of_unknown_scale_is_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "wild.tif")
    with pytest.raises(ValueError, match="out of range for floats"):
        read_image(path)


def test_palette(tmp_path):
    image = Image.fromarray(COLOURS).quantize(256)
    assert (pixels(saved(tmp_path, image)) == np.asarray(image.convert("RGB"))).all()


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    read = pixels(saved(tmp_path, image, transparency=0))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[1, 1].tolist() == [255, 0, 0]


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.jpg", quality=95)
    red, green, blue = pixels(path)[4, 4].astype(int)
    assert red > 240
    assert green < 15
    assert blue < 15


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :16] = 255
    read = pixels(saved(tmp_path, Image.fromarray(wide), "phone.jpg", exif=exif, quality=95))
    assert read.shape == (32, 16, 3)
    assert read[4, 8].min() > 240
    assert read[28, 8].max() < 15


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "loop.gif", save_all=True, append_images=frames[1:])
    assert pixels(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.gif", "cut.webp", "cut.tif"])
def test_truncated_file(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path, Image.fromarray(noise), name).read_bytes()
    path = tmp_path / name
    for share in (0.05, 0.5):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=f"{name} is (damaged or incomplete|not an image)") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_file_that_is_no_image(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture at all")
    with pytest.raises(ValueError, match=r"notes\.jpg is not an image"):
        read_image(path)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(ValueError, match=r"empty\.jpg is empty"):
        read_image(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        read_image(tmp_path / "absent.jpg")


def test_folder(tmp_path):
    with pytest.raises(OSError, match="directory"):
        read_image(tmp_path)


def test_decompression_bomb(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )
    with pytest.raises(ValueError, match=r"bomb\.png is too large to open safely"):
        read_image(path)


def test_pillow_is_left_as_it_was(tmp_path):
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    read_image(saved(tmp_path, Image.fromarray(COLOURS)))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


SCENE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_a_16_bit_file_keep_their_brightness_and_are_told(tmp_path, bits):
    path = saved(tmp_path, Image.fromarray((SCENE / 255 * (2**bits - 1)).round().astype(np.uint16)))
    with pytest.warns(UserWarning, match=rf"taken as {bits} bits, 0 to {2**bits - 1}: if not, say"):
        read = pixels(path)
    assert np.abs(read[..., 0].astype(int) - SCENE).max() <= 1
    said = np.asarray(read_image(path, value_range=(0, 2**bits - 1)))
    assert (said == read).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_of_ct_are_out_of_range_until_black_and_white_are_said(tmp_path, kind):
    values = np.linspace(-1000, 3000, 2000).reshape(40, 50).round().astype(kind)
    path = saved(tmp_path, Image.fromarray(values), "ct.tif")
    with pytest.raises(ValueError, match=r"ct\.tif has grey .* out of range .* --range -1000 3000") as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)
    read = np.asarray(read_image(path, value_range=(-160, 240)))[..., 0].astype(int)
    assert set(read[values <= -160]) == {0}
    assert set(read[values >= 240]) == {255}
    inside = (values > -160) & (values < 240)
    assert np.abs(read[inside] - 255 * (values[inside] + 160) / 400).max() <= 0.5


def test_ranges_that_do_not_fit(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLOURS))
    with pytest.raises(ValueError, match="is no grey picture of more than 8 bits"):
        read_image(path, value_range=(0, 4095))
    with pytest.raises(ValueError, match="values of black and white, in this order"):
        read_image(path, value_range=(5, 5))


# --- colours of more than 8 bits


def deep_png(path, values):
    """Write (h, w, channels) uint16 as PNG, by its definition: no filter, big-endian samples."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    colour = {2: 4, 3: 2, 4: 6}[values.shape[-1]]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def deep_tiff(path, values):
    import tifffile

    tifffile.imwrite(path, values, photometric="rgb")
    return path


def deep_planes(path, values):
    import tifffile

    tifffile.imwrite(path, np.moveaxis(values, -1, 0), photometric="rgb", planarconfig="separate")
    return path


DEEP = np.random.default_rng(1).integers(0, 65536, (12, 20, 3)).astype(np.uint16)
WRITERS = {"deep.png": deep_png, "deep.tif": deep_tiff, "planes.tiff": deep_planes}


@pytest.mark.parametrize("name", WRITERS)
def test_16_bit_colours_keep_their_brightness(tmp_path, name):
    for size in (DEEP, DEEP[:1], DEEP[:, :1]):
        read = pixels(WRITERS[name](tmp_path / name, size))
        assert np.abs(read - size / 257).max() <= 0.5


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("bits", [10, 12])
def test_colours_of_fewer_bits_in_16_are_told(tmp_path, name, bits):
    path = WRITERS[name](tmp_path / name, DEEP >> (16 - bits))
    with pytest.warns(UserWarning, match=rf"taken as {bits} bits, 0 to {2**bits - 1}: if not, say"):
        read = pixels(path)
    assert np.abs(read - (DEEP >> (16 - bits)) / (2**bits - 1) * 255).max() <= 0.5
    said = np.asarray(read_image(path, value_range=(0, 2**bits - 1)))
    assert (said == read).all()
    darker = np.asarray(read_image(path, value_range=(0, 65535)))
    assert np.abs(darker - (DEEP >> (16 - bits)) / 257).max() <= 0.5


def test_16_bit_alpha_is_laid_over_white(tmp_path):
    alpha = np.zeros((12, 20, 1), np.uint16)
    alpha[:, 10:] = 65535
    read = pixels(deep_png(tmp_path / "clear.png", np.concatenate([DEEP, alpha], -1)))
    assert (read[:, :10] == 255).all()
    assert np.abs(read[:, 10:] - DEEP[:, 10:] / 257).max() <= 0.5
    grey = pixels(deep_png(tmp_path / "grey.png", np.concatenate([DEEP[..., :1], alpha], -1)))
    assert (grey[:, :10] == 255).all()
    assert np.abs(grey[:, 10:] - DEEP[:, 10:, :1] / 257).max() <= 0.5


def test_deep_colours_are_turned_upright(tmp_path):
    import tifffile

    path = tmp_path / "phone.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.abs(pixels(path) - np.rot90(DEEP, -1) / 257).max() <= 0.5


def test_other_deep_colours_are_refused(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "ink.tif", np.tile(DEEP[..., :1], 4), photometric="separated")
    with pytest.raises(
        ValueError, match=r"ink\.tif has colours of more than 8 bits .* with 8 bits a channel"
    ):
        read_image(tmp_path / "ink.tif")
    with pytest.raises(ValueError, match=r"unit\.tif is not an image that Pillow can read"):
        read_image(deep_tiff(tmp_path / "unit.tif", (DEEP / 65535).astype(np.float32)))
    with pytest.raises(ValueError, match="is no grey picture of more than 8 bits, and no other one"):
        read_image(saved(tmp_path, Image.fromarray(COLOURS)), value_range=(0, 4095))


@pytest.mark.parametrize("name", WRITERS)
def test_the_content_tells_what_a_file_is_and_not_its_name(tmp_path, name):
    written = WRITERS[name](tmp_path / name, DEEP)
    expected = pixels(written)
    for other in ("a.png", "a.tif", "a.jpg", "a"):
        (tmp_path / other).write_bytes(written.read_bytes())
        assert np.array_equal(pixels(tmp_path / other), expected)


def test_a_picture_runs_no_program(tmp_path, monkeypatch):
    """Pillow has Ghostscript draw EPS, under whatever name."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / "harmless.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"harmless\.png is not an image that Pillow can read"):
        read_image(path)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_deep_picture_is_refused_and_does_not_end_the_process(tmp_path):
    """A second header in the middle, with a wrong checksum: a decoder in C went on with freed memory."""
    whole = deep_png(tmp_path / "whole.png", DEEP[:5, :4]).read_bytes()
    start = whole.index(b"IDAT") + 8
    (tmp_path / "twice.png").write_bytes(whole[: start + 100] + whole[12:])
    for name in ("twice.png", "whole.png"):
        (tmp_path / "cut.png").write_bytes((tmp_path / name).read_bytes()[:-30])
        with pytest.raises(ValueError, match=r"cut\.png is damaged"):
            read_image(tmp_path / "cut.png")


def test_more_transparencies_than_colours_are_damage(tmp_path):
    whole = saved(tmp_path, Image.fromarray(COLOURS).convert("P")).read_bytes()
    place = whole.index(b"IDAT") - 4
    content = b"tRNS" + b"\x80" * 300
    chunk = struct.pack(">I", 300) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "many.png").write_bytes(whole[:place] + chunk + whole[place:])
    with pytest.raises(ValueError, match=r"many\.png is damaged or incomplete and cannot be read: palette"):
        read_image(tmp_path / "many.png")


@pytest.mark.parametrize("most", [1, 7, 50])
def test_large_pictures_are_converted_part_by_part(tmp_path, monkeypatch, most):
    """Whatever its shape: a picture of one long row is not converted whole."""
    alpha = np.linspace(0, 65535, DEEP[..., :1].size).astype(np.uint16).reshape(DEEP[..., :1].shape)
    pictures = [
        deep_png(tmp_path / "colours.png", DEEP),
        deep_png(tmp_path / "colours-alpha.png", np.concatenate([DEEP, alpha], -1)),
        deep_png(tmp_path / "grey-alpha.png", np.concatenate([DEEP[..., :1], alpha], -1)),
        saved(tmp_path, Image.fromarray((np.concatenate([DEEP, alpha], -1) >> 8).astype(np.uint8))),
        tmp_path / "grey.png",
    ]
    Image.fromarray(DEEP[..., 0]).save(pictures[-1])
    whole = [pixels(path) for path in pictures]
    monkeypatch.setattr("usu.models.images._PART", most)
    for path, expected in zip(pictures, whole, strict=True):
        assert np.array_equal(pixels(path), expected), path.name
    for width, height in [(20, 12), (1, 240), (240, 1)]:
        covered = np.zeros((height, width), int)
        for left, top, right, bottom in _boxes(width, height):
            assert (right - left) * (bottom - top) <= most
            covered[top:bottom, left:right] += 1
        assert (covered == 1).all()
