"""Hierarchies of masks that overlap and leave gaps, against the rule pixel by pixel."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn


def disc(size, row, column, radius):
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def by_hand(masks, background):
    """Return the names of each pixel at each level, from sets of pixels and plain loops."""
    sets = [{tuple(place) for place in np.argwhere(mask)} for mask in masks]
    order = sorted((n for n in range(len(masks)) if sets[n]), key=lambda n: -len(sets[n]))

    def parent(n):
        before = order[: order.index(n)]
        holding = [m for m in before if len(sets[m] & sets[n]) >= 0.9 * len(sets[n])]
        return holding[-1] if holding else None

    def chain(n):
        return [*(chain(parent(n)) if parent(n) is not None else []), n]

    chains = {n: chain(n) for n in order}
    levels = []
    for depth in range(max(map(len, chains.values()))):
        names = np.full(masks[0].shape, -1)
        for place in np.ndindex(masks[0].shape):
            over = [n for n in order if place in sets[n]]
            if over:
                own = chains[over[-1]]
                names[place] = own[min(depth, len(own) - 1)]
        levels.append(names)
    return levels


def same_partition(labels, names):
    pairs = set(zip(np.asarray(labels).ravel().tolist(), names.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_follow_the_rule(seed):
    random = np.random.default_rng(seed)
    size = (14, 19)
    masks = np.stack(
        [disc(size, *random.uniform(0, size), random.choice([1.5, 2.5, 4, 7])) for _ in range(12)]
    )
    found = usu.Hierarchy.from_masks(masks)
    expected = by_hand(list(masks), "one")
    kept = [names for n, names in enumerate(expected) if n == 0 or not same_partition(names, expected[n - 1])]
    assert len(found.levels) == len(kept)
    for labels, names in zip(found.levels, kept, strict=True):
        assert isinstance(labels, np.ndarray)
        assert same_partition(labels, names)
    assert found.method == "masks"


def test_nested_masks_give_nested_levels():
    body, head, eye = disc((30, 30), 15, 15, 13), disc((30, 30), 10, 15, 6), disc((30, 30), 9, 14, 2)
    other = np.zeros((30, 30), bool)
    other[:3, :4] = True
    found = usu.Hierarchy.from_masks([eye, body, other, head])
    assert found.counts == (3, 4, 5)  # body, other, the rest; then the head; then the eye
    body, head, eye, other = (mask.astype(int) for mask in (body, head, eye, other))
    for names, level in zip(
        (body + 2 * other, body + head + 3 * other, body + head + eye + 4 * other), found.levels, strict=True
    ):
        assert same_partition(level, names)


def test_a_mask_that_sticks_out_keeps_its_pixels():
    large, small = np.zeros((10, 30), bool), np.zeros((10, 30), bool)
    large[:, :20], small[0, 10:20], small[0, 20] = True, True, True  # 10 of 11 pixels inside
    found = usu.Hierarchy.from_masks(np.stack([large, small]))
    assert found.counts == (2, 3)
    assert found.levels[0][0, 20] == found.levels[0][0, 0] == found.levels[0][5, 5]
    assert int((found.levels[1] == found.levels[1][0, 20]).sum()) == 11


def test_gaps_are_one_segment_or_their_components():
    mask = np.zeros((4, 9), bool)
    mask[:, 4] = True
    assert usu.Hierarchy.from_masks(mask[None]).counts == (2,)
    apart = usu.Hierarchy.from_masks(mask[None], background="components")
    assert apart.counts == (3,)
    assert apart.levels[0][0].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2]
    assert usu.Hierarchy.from_masks(np.ones((1, 3, 3))).counts == (1,)


def test_sams_list_arrays_and_tensors_agree(device):
    masks = np.stack([disc((12, 12), 5, 5, 5), disc((12, 12), 4, 4, 2), disc((12, 12), 9, 9, 4)])
    sam = [
        {"segmentation": mask, "area": int(mask.sum()), "bbox": [0, 0, 1, 1], "predicted_iou": 0.9}
        for mask in masks
    ]
    expected = usu.Hierarchy.from_masks(masks).levels
    tensor = torch.from_numpy(masks).to(device)
    for given in (sam, list(masks), masks.astype(np.uint8), masks.astype(float), tensor, tensor[:, None]):
        found = usu.Hierarchy.from_masks(given).levels
        assert len(found) == len(expected) == 2
        for ours, theirs in zip(found, expected, strict=True):
            if isinstance(given, torch.Tensor):
                assert ours.device.type == tensor.device.type
                ours = ours.cpu().numpy()
            np.testing.assert_array_equal(ours, theirs)


def test_large_pictures_are_compared_in_parts():
    """More pixels than one part: what lies in the second one counts, too."""
    masks = np.zeros((2, 300, 400), bool)
    masks[0, 250:], masks[1, 260:270] = True, True
    assert usu.Hierarchy.from_masks(masks).counts == (2, 3)


def test_masks_explain():
    masks = [disc((16, 16), 5, 5, 4), disc((16, 16), 5, 5, 2), disc((16, 16), 11, 11, 4)]
    inputs = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    hierarchy = usu.Hierarchy.from_masks(masks)
    options = {"segmentation": hierarchy, "scoring": "mask", "baselines": "zeros"}
    found = usu.explain(small_cnn(), inputs, 1, **options)
    model, blank = small_cnn(), inputs.clone()
    blank[:, torch.from_numpy(masks[1])] = 0
    with torch.no_grad():
        fall = (model(inputs[None]).softmax(1) - model(blank[None]).softmax(1))[0, 1]
    label = int(hierarchy.levels[1][5, 5])
    assert float(found.raw_scores[-1][label]) == pytest.approx(float(fall), abs=1e-6)


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        ([], ValueError, "at least one mask"),
        (np.zeros((2, 3, 3)), ValueError, "not empty"),
        (np.full((2, 3, 3), 0.5), ValueError, r"pass masks > 0"),
        ([np.ones((2, 2), bool), np.ones((2, 3), bool)], ValueError, r"one size, got \[\(2, 2\), \(2, 3\)\]"),
        (np.ones((3, 3), bool), ValueError, r"\(N, H, W\) in all, got shape \(3, 3\)"),
        ([{"segmentation": {"size": [2, 2], "counts": [4]}}], TypeError, "output_mode='binary_mask'"),
        ({"masks": [np.ones((2, 2))]}, TypeError, "got one mapping"),
        (["a"], TypeError, r"masks\[0\]"),
    ],
)
def test_bad_masks(masks, error, words):
    with pytest.raises(error, match=words):
        usu.Hierarchy.from_masks(masks)


def test_bad_background():
    with pytest.raises(ValueError, match="background must be one of"):
        usu.Hierarchy.from_masks(np.ones((1, 2, 2)), background="all")
