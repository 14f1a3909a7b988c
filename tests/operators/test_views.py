"""An explanation seen otherwise: by another upsampler, at the photograph's size; cells of several kinds."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "temperature": 0.3}


@pytest.fixture(scope="module")
def explanation():
    torch.manual_seed(1)
    return usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, mode="usu", **OPTIONS)


@pytest.mark.parametrize("name", list(usu.UPSAMPLERS))
def test_by_another_upsampler(explanation, name):
    expected = usu.find_upsampler(name, temperature=0.3, mass="total")(
        explanation.coarse, explanation.score_map
    )
    assert torch.equal(explanation.upsampled_by(name), expected)


def test_by_its_own_mode_is_itself(explanation):
    assert torch.equal(explanation.upsampled_by("usu"), explanation.attribution)


def further_source(model, inputs, targets, layer):
    grids = tuple(torch.full((len(inputs), side, side), float(side)) for side in (2, 16))
    return usu.CoarseMap(torch.ones(len(inputs), 4, 4), "total", "several", further=grids)


def test_further_grids_are_redistributed_and_added(tmp_path):
    found = usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, source=further_source, mode="usu", **OPTIONS)
    assert float(found.attribution.sum()) == pytest.approx(16 * 1 + 4 * 2 + 256 * 16, rel=1e-6)
    parts = [
        usu.redistribute(grid, found.score_map, temperature=0.3, mass="total")
        for grid in (found.coarse, *found.further)
    ]
    assert torch.allclose(found.attribution, sum(parts))
    found.save(tmp_path / "several.npz")
    assert [grid.shape for grid in usu.Explanation.load(tmp_path / "several.npz").further] == [
        (2, 2),
        (16, 16),
    ]


def halves_and_quarters(model, inputs, targets, layer):
    halves = torch.arange(16).repeat(16, 1) // 8
    quarters = torch.arange(16).repeat(16, 1) // 4
    values = [torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])]
    return usu.CoarseMap(values, "total", "own", neighbourhoods=[halves, quarters])


def test_cells_may_differ_from_image_to_image():
    found = usu.explain(
        small_cnn(), torch.rand(2, 3, 16, 16), [0, 1], source=halves_and_quarters, mode="usu", **OPTIONS
    )
    columns = [one.attribution.sum(0) for one in found]
    assert columns[0].reshape(2, 8).sum(1).tolist() == pytest.approx([1, 3])
    assert columns[1].reshape(4, 4).sum(1).tolist() == pytest.approx([1, 2, 3, 4])
    with pytest.raises(ValueError, match="neighbourhoods"):
        found[0].upsampled_by("bilinear")


def test_the_same_by_upsample():
    model, inputs = small_cnn(), torch.rand(2, 3, 16, 16)
    given = halves_and_quarters(model, inputs, [0, 1], None)
    options = {"mass": "total", "neighbourhoods": given.neighbourhoods, **OPTIONS}
    found = usu.upsample(list(given.values), inputs, model, [0, 1], mode="usu", **options)
    assert [float(one.attribution.sum()) for one in found] == pytest.approx([4, 10])
    with pytest.raises(ValueError, match="coarse must be one map per image, 2, got 1"):
        usu.upsample(list(given.values)[:1], inputs, model, [0, 1], mode="usu", **options)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"values": torch.ones(2, 4, 4), "further": (torch.ones(1, 2, 2),)}, "further.0.*one map per image"),
        ({"values": torch.ones(2, 4, 4), "further": (torch.ones(2, 2),)}, "further.0.*axes per image"),
        ({"values": [torch.ones(3)], "neighbourhoods": torch.zeros(16, 16)}, "one map per image"),
        ({"values": torch.ones(2, 3), "neighbourhoods": [torch.zeros(16, 16)]}, "one label map for all"),
    ],
)
def test_bad_coarse_maps(fields, words):
    with pytest.raises(ValueError, match=words):
        usu.explain(
            small_cnn(),
            torch.rand(2, 3, 16, 16),
            1,
            source=lambda *_: usu.CoarseMap(**fields),
            mode="usu",
            **OPTIONS,
        )


def test_at_the_photographs_size(explanation, tmp_path):
    placement = usu.Placement.whole((40, 30)).resize((20, 16)).center_crop(16)
    found = usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, placement=placement, mode="usu", **OPTIONS)
    whole = found.to_original_size()
    assert whole.shape == (40, 30)
    assert float(whole.sum()) == pytest.approx(float(found.attribution.sum()), rel=1e-6)
    assert not whole[:4].any()
    assert not whole[36:].any()
    found.save(tmp_path / "placed.npz")
    assert np.array_equal(usu.Explanation.load(tmp_path / "placed.npz").to_original_size(), whole.numpy())
    with pytest.raises(ValueError, match="give explain a `placement`"):
        explanation.to_original_size()


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (usu.Placement.whole((40, 30)), r"inputs of \(40, 30\) pixels"),
        ([usu.Placement.whole((16, 16))] * 2, "for each of 1 inputs"),
        ("centre", "must be a usu.Placement"),
    ],
)
def test_bad_placements(placement, words):
    with pytest.raises(ValueError, match=words):
        usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, placement=placement, mode="usu", **OPTIONS)
