"""Saving and loading: one file, whole or not at all, without pickle."""

import dataclasses
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.plot import overlay_figure

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def explanation():
    inputs = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    return usu.explain(
        small_cnn(), inputs, 2, segmentation={"quadtree": (4, 16)}, mode="hybrid", scoring="mask"
    )


def same(before, after):
    """Say whether a value came back from a file as it was, with arrays for tensors."""
    if isinstance(before, torch.Tensor):
        kept = isinstance(after, np.ndarray) and after.dtype == before.numpy().dtype
        return kept and np.array_equal(after, before.numpy())
    if isinstance(before, tuple):
        return isinstance(after, tuple) and all(same(*pair) for pair in zip(before, after, strict=True))
    if isinstance(before, usu.Refinement):
        return isinstance(after, usu.Refinement) and all(
            same(value, getattr(after, name)) for name, value in vars(before).items()
        )
    return type(after) is type(before) and after == before


def test_round_trip_is_exact(explanation, tmp_path):
    path = tmp_path / "explanation.npz"
    explanation.save(path)
    loaded = usu.Explanation.load(path)
    for item in dataclasses.fields(explanation):
        assert same(getattr(explanation, item.name), getattr(loaded, item.name)), item.name


def test_what_is_there_twice_is_written_once_and_to_the_bit(explanation, tmp_path):
    scores = torch.zeros_like(explanation.score_map)
    first, second = (
        dataclasses.replace(explanation.refinements[0], score_map=map) for map in (scores, -scores)
    )
    twice = dataclasses.replace(explanation, score_map=scores.clone(), refinements=(first, second))
    with open(tmp_path / "twice.npz", "wb") as file:
        twice.write_to(file)
    names = np.load(tmp_path / "twice.npz").files
    assert len([name for name in names if name.endswith("score_map")]) == 2  # 0 and -0 are different bits
    loaded = usu.Explanation.load(tmp_path / "twice.npz")
    assert [np.signbit(one.score_map).all() for one in loaded.refinements] == [False, True]
    assert not np.signbit(loaded.score_map).any()


@pytest.mark.parametrize("name", ["mixed", "random", "complete"])
def test_files_of_format_1_still_load(name, tmp_path):
    """Saved by the version before refinements were kept; the attribution is the one that they make again."""
    found = usu.Explanation.load(DATA / f"format-1-{name}.npz")
    expected = {"mixed": "mask", "random": "regression", "complete": "owen"}
    assert found.settings["scoring"] == expected[name]
    assert found.settings["potential"] == "exponential"
    assert "method" not in found.settings
    np.testing.assert_allclose(found.upsampled_by("usu"), found.attribution, rtol=1e-5, atol=1e-7)
    assert found.to_html()
    found.save(tmp_path / "again.npz")
    assert np.array_equal(usu.Explanation.load(tmp_path / "again.npz").score_map, found.score_map)


def test_refinements_of_format_1_are_merged_again():
    inputs = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3))
    settings = {"segmentation": {"quadtree": (4, 16), "slic": (6,)}, "mixing": "segment"}
    fresh = usu.explain(small_cnn(), inputs, 2, mode="usu", **settings)
    found = usu.Explanation.load(DATA / "format-1-mixed.npz")
    assert [len(one.partitions) for one in found.refinements] == [2, 1]
    for old, new in zip(found.refinements, fresh.refinements, strict=True):
        np.testing.assert_allclose(old.score_map, new.score_map, atol=1e-5)
        for name in ("h_maps", "mixings", "scores"):
            for one, other in zip(getattr(old, name), getattr(new, name), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lambda found: found.by("bilinear"), lambda found: found.upsampled_by("bilinear")),
        (lambda found: found.at_photograph(), lambda found: found.to_original_size()),
    ],
)
def test_old_names_are_told_of(explanation, old, new):
    placed = dataclasses.replace(explanation, placement=usu.Placement.whole((12, 20)).resize((16, 16)))
    with pytest.warns(DeprecationWarning, match="is now Explanation"):
        found = old(placed)
    assert torch.equal(found, new(placed))


def test_repr_is_one_line_of_facts(explanation):
    assert repr(explanation) == (
        f"Explanation(target=2, probability={explanation.probability:.3f}, mode='hybrid', source='gradcam', "
        "layer='4', 4×4 cells to 16×16 pixels, 23 passes)"
    )


def test_loaded_explanation_can_be_saved_again(explanation, tmp_path):
    explanation.save(tmp_path / "a.npz")
    usu.Explanation.load(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert np.array_equal(
        usu.Explanation.load(tmp_path / "b.npz").attribution, explanation.attribution.numpy()
    )


def test_failed_write_leaves_the_old_file_and_nothing_else(explanation, tmp_path, monkeypatch):
    path = tmp_path / "explanation.npz"
    explanation.save(path)
    before = path.read_bytes()

    def full_disk(file, values, **options):
        file.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full_disk)
    with pytest.raises(OSError, match="no space left"):
        explanation.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["explanation.npz"]


def test_other_suffix_and_missing_folder_are_refused(explanation, tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.npz"):
        explanation.save(tmp_path / "map.png")
    with pytest.raises(OSError, match="missing"):
        explanation.save(tmp_path / "missing" / "map.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as an explanation: it is not a \.npz file"):
        usu.Explanation.load(path)


def test_truncated_and_foreign_files_are_refused(explanation, tmp_path):
    path = tmp_path / "explanation.npz"
    explanation.save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="cannot be read as an explanation"):
        usu.Explanation.load(path)
    np.savez(path, arr=np.zeros(3))
    with pytest.raises(ValueError, match="cannot be read as an explanation"):
        usu.Explanation.load(path)
    with pytest.raises(FileNotFoundError):
        usu.Explanation.load(tmp_path / "nowhere.npz")


def test_a_newer_format_is_told(explanation, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("usu.record.FORMAT", 4)
        explanation.save(tmp_path / "new.npz")
    with pytest.raises(ValueError, match=r"saved by a newer usu, in format 4; this one reads 3"):
        usu.Explanation.load(tmp_path / "new.npz")


def test_pickles_are_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "opened"),))

    path = tmp_path / "evil.npz"
    np.savez(path, facts=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="cannot be read as an explanation"):
        usu.Explanation.load(path)
    assert not (tmp_path / "opened").exists()


def power(scores):
    """Stand for a potential of one's own that has the name of a built-in one."""
    return 1 + scores


def test_a_potential_of_ones_own_is_never_taken_for_a_built_in_one():
    coarse, inputs = torch.rand(4, 4), torch.randn(3, 16, 16)
    found = usu.upsample(
        coarse, inputs, small_cnn(), 2, segmentation={"quadtree": (4, 16)}, potential=power, mode="usu"
    )
    assert found.settings["potential"] == "power()"
    with pytest.raises(ValueError, match=r"potential must be one of .* got 'power\(\)'"):
        found.upsampled_by("usu")
    assert torch.equal(found.upsampled_by("bilinear"), usu.interpolate(coarse, (16, 16), "bilinear"))
    assert torch.equal(
        found.upsampled_by(lambda cells, scores: scores + cells.sum()), found.score_map + coarse.sum()
    )


@pytest.mark.parametrize("temperature", [np.float32(0.25), np.float64(0.25), Fraction(1, 4)])
def test_real_numbers_of_every_kind_are_kept_as_floats(temperature):
    found = usu.upsample(
        torch.rand(4, 4),
        torch.randn(3, 16, 16),
        small_cnn(),
        2,
        segmentation={"quadtree": (np.int64(4), np.int64(16))},
        temperature=temperature,
        threshold=temperature,
        mode="usu",
    )
    assert found.settings["temperature"] == found.settings["threshold"] == 0.25
    assert type(found.settings["temperature"]) is float
    assert found.settings["segmentation"] == {"quadtree": [4, 16]}
    assert torch.equal(found.upsampled_by("usu"), found.attribution)
    assert "0.25" in found._repr_html_()


def test_bfloat16_is_saved_and_shown_in_float32(tmp_path):
    inputs = torch.randn(3, 16, 16).bfloat16()
    found = usu.explain(small_cnn().bfloat16(), inputs, 2, segmentation={"quadtree": (4, 16)}, mode="usu")
    assert found.image.dtype == torch.bfloat16
    found.save(tmp_path / "a.npz")
    loaded = usu.Explanation.load(tmp_path / "a.npz")
    for name in ("image", "attribution", "score_map"):
        before, after = getattr(found, name), getattr(loaded, name)
        assert np.array_equal(after, before.float().numpy()), name
    assert loaded.image.dtype == np.float32
    assert found.to_html()
    assert overlay_figure(found).axes
