"""Contestants of the benchmark: what they make, what they cost, and that a model is left as it was found."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.bench.methods import conserving, peers
from usu.bench.methods.image import BLACK_BOX, Cost, Subject
from usu.bench.methods.registry import (
    CONTESTANTS,
    CONTROLS,
    PEERS,
    UPSAMPLERS,
    Contestant,
    scattered_segments,
)
from usu.models.compiled import quickened
from usu.operators.lattice import grid
from usu.sources.registry import SOURCES

SIZE = 32
# RefineCAM and XRAI are dear or want several resolutions: they have tests of their own.
QUICK = [name for name in CONTESTANTS if name not in ("xrai", "rise-10x", "occlusion-10x")]


class Calls(nn.Module):
    """Counts the images that reach a model, independently of what is tested."""

    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, batch):
        self.images += len(batch)
        return self.model(batch)


def picture(device="cpu"):
    y, x = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    disc = ((y - 0.4) ** 2 + (x - 0.6) ** 2 < 0.06).float()
    return torch.stack([disc, 0.6 * y + 0.2 * disc, x]).clamp(0, 1).to(device)


def subject(model=None, device="cpu", **options):
    model = (model or small_cnn()).to(device)
    shown = picture(device)
    with torch.no_grad():
        target = int(model(shown[None]).argmax())
    return Subject(model, 2 * shown - 1, shown, target, **options)


@pytest.mark.parametrize("name", QUICK)
def test_maps_are_finite_and_their_passes_are_those_that_the_model_saw(name, device):
    calls = Calls(small_cnn().to(device)).eval()
    one = subject(calls, device, settings={"scoring": "mask"})
    calls.images = 0
    made = CONTESTANTS[name].draw(one, "gradcam")
    assert made.values.shape == (SIZE, SIZE)
    assert made.values.dtype == torch.float64
    assert made.values.device == one.inputs.device
    # The pipeline's scores set the price of these, or the number of random segments, and are no part of it.
    priced = name in ("rise", "occlusion", "shap-partition", "random-segments")
    aside = one.cost_of(one.key_of_scores("gradcam")).passes if priced else 0
    assert made.cost.passes == calls.images - aside
    if priced and name != "random-segments":
        assert 0 < made.cost.passes <= aside + 3
    assert made.cost.seconds >= 0


@pytest.mark.parametrize("name", QUICK)
def test_a_model_is_left_as_it_was_found(name):
    model = small_cnn()
    before = fingerprint(model)
    CONTESTANTS[name].draw(subject(model), "gradcam")
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "make",
    [PEERS["shap-partition"].make, lambda one, _: peers.surrogate(one, "Lime", 10)],
    ids=["shap", "lime"],
)
def test_random_states_are_left_as_they_were(make, monkeypatch):
    one = subject()
    monkeypatch.setattr(torch, "manual_seed", None)  # it seeds every device
    of_numpy, of_torch = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    make(one, "none")
    np.testing.assert_equal(np.random.get_state(), of_numpy)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), of_torch)


@pytest.mark.parametrize(
    "name",
    [
        *("nearest", "usu", "complete", "shuffled-scores", "random-segments"),
        *("guided-conserving", "pycnophylactic"),
    ],
)
def test_cells_keep_their_mass(name):
    assert CONTESTANTS[name].draw(subject(), "gradcam").d1_relative < 1e-6


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "iwmr", "guided"])
def test_lost_mass_is_told(name):
    assert CONTESTANTS[name].draw(subject(), "gradcam").d1_relative > 1e-3


def test_the_d1_error_is_the_mean_error_of_the_cells():
    one = subject()
    cells = one.coarse("gradcam").values.double()
    made = UPSAMPLERS["bilinear"].draw(one, "gradcam")
    blocks = made.values.reshape(len(cells), SIZE // len(cells), cells.shape[1], -1).sum((1, 3))
    error = (blocks - cells).abs().mean()  # Grad-CAM's values are masses
    assert made.d1_error == pytest.approx(float(error), rel=1e-6)
    assert made.d1_relative == pytest.approx(float(error / cells.abs().mean()), rel=1e-6)


def test_what_is_shared_is_made_once_and_counts_for_each():
    calls = Calls(small_cnn()).eval()
    one = subject(calls, settings={"scoring": "mask"})
    calls.images = 0
    first, second = (CONTESTANTS[name].draw(one, "gradcam").cost.passes for name in ("usu", "iwmr"))
    assert first == second == calls.images
    key = one.key_of_scores("gradcam")
    assert one.cost_of(key) + Cost(1, 0.5) == Cost(
        one.cost_of(key).passes + 1, one.cost_of(key).seconds + 0.5
    )


def test_scores_by_order_start_from_each_source_and_a_gradient_counts_three():
    calls = Calls(small_cnn()).eval()
    one = subject(calls)
    calls.images = 0
    made = [CONTESTANTS[name].draw(one, "gradcam") for name in ("usu", "iwmr")]
    # A fit of 25 steps: two copies each, three passes a copy; f(x), the fill; and Grad-CAM with its layer.
    assert [each.cost.passes for each in made] == [25 * 6 + 2 + 2] * 2
    assert calls.images == 25 * 2 + 2 + 2
    by_itself = usu.explain(
        small_cnn(), one.inputs, one.target, source="gradcam", mode="usu", images=one.picture
    )
    torch.testing.assert_close(made[0].values.float(), by_itself.attribution)
    other = CONTESTANTS["usu"].draw(one, "eigencam")
    assert not torch.equal(one.scoring("gradcam").score_map, one.scoring("eigencam").score_map)
    assert not torch.equal(one.scoring().score_map, one.scoring("gradcam").score_map)
    assert other.cost.passes == 25 * 6 + 2 + 2


@pytest.mark.parametrize("name", ["usu", "complete", "guided", "refinecam", "shap-partition", "xrai"])
def test_maps_are_the_same_with_a_quick_copy(name):
    slow, quick = subject(), subject(quick=quickened(small_cnn(), 2 * picture() - 1))
    (before, after) = (CONTESTANTS[name].draw(one, "gradcam") for one in (slow, quick))
    torch.testing.assert_close(after.values, before.values, rtol=1e-3, atol=1e-5)
    assert after.cost.passes == before.cost.passes


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_the_same_with_a_quick_copy(source):
    model = SmallViT().eval() if source in ("rollout", "attention-relevance") else small_cnn()
    found = {}
    for quick in (None, quickened(model, 2 * picture() - 1)):
        one = subject(model, quick=quick)
        found[quick] = one.coarse(source), one.cost_of(("coarse", source)).passes
    (slow, slow_passes), (hasty, hasty_passes) = found.values()
    torch.testing.assert_close(hasty.values[0], slow.values[0])
    assert hasty_passes == slow_passes > 0


@pytest.mark.parametrize("source", BLACK_BOX)
def test_sources_that_only_ask_for_answers_get_them_from_the_quick_copy(source):
    slow, quick = Calls(small_cnn()).eval(), Calls(small_cnn()).eval()
    one = subject(slow, quick=quick)
    slow.images = 0
    one.coarse(source)
    assert slow.images == 0 < quick.images == one.cost_of(("coarse", source)).passes


def test_the_complete_map_sums_to_what_the_prediction_owes_to_the_image():
    one = subject()
    with torch.no_grad():
        both = one.model.model(torch.stack([one.inputs, one.fill])).softmax(1)[:, one.target].double()
    total = float(CONTESTANTS["complete"].draw(one, "gradcam").values.sum())
    assert total == pytest.approx(float(both[0] - both[1]), abs=1e-5)


def test_controls_know_what_they_must_not():
    one = subject()
    assert not CONTROLS["zero"].draw(one, "none").values.any()
    assert CONTROLS["constant"].draw(one, "none").values.unique().tolist() == [1.0]
    scores = CONTROLS["scores"].draw(one, "none").values
    assert torch.equal(scores, torch.as_tensor(one.scoring().score_map).double())
    shuffled = CONTROLS["shuffled-scores"].draw(one, "gradcam").values
    assert not torch.allclose(shuffled, UPSAMPLERS["usu"].draw(one, "gradcam").values)


def test_positive_maps_have_no_negative_mass():
    signed, positive = subject(), subject(positive=True)
    assert (signed.coarse("gradcam").values < 0).any()
    assert (positive.coarse("gradcam").values >= 0).all()
    assert (UPSAMPLERS["usu"].draw(positive, "gradcam").values >= 0).all()


def test_settings_reach_the_scores_and_the_sharing():
    even, sharp = (
        UPSAMPLERS["usu"].draw(subject(settings={"temperature": temperature}), "gradcam").values
        for temperature in (1e3, 0.05)
    )
    nearest = UPSAMPLERS["nearest"].draw(subject(), "gradcam").values
    assert torch.allclose(even, nearest, atol=1e-3 * float(nearest.abs().max()))
    assert not torch.allclose(sharp, nearest, atol=1e-3 * float(nearest.abs().max()))


def test_cells_keep_the_mass_of_several_grids():
    one = subject()
    assert one.coarse("fullgrad").further
    assert UPSAMPLERS["usu"].draw(one, "fullgrad").d1_relative < 1e-6
    assert UPSAMPLERS["bilinear"].draw(one, "fullgrad").d1_relative > 1e-3


def test_a_pycnophylactic_map_is_the_smoothest_with_its_cells():
    # Directly: the least sum of squared differences of neighbours, given 3 × 3 cells' sums, by Lagrange.
    side, cells = 12, grid((3, 3), (12, 12))
    masses = torch.tensor([[20.0, 30.0, 18.0], [25.0, 40.0, 22.0], [16.0, 24.0, 30.0]], dtype=torch.float64)
    numbers = np.arange(side * side).reshape(side, side)
    pairs = np.stack([numbers[:, :-1], numbers[:, 1:]]).reshape(2, -1)
    pairs = np.hstack([pairs, np.stack([numbers[:-1], numbers[1:]]).reshape(2, -1)])
    steps = np.eye(side * side)[pairs[0]] - np.eye(side * side)[pairs[1]]
    member = np.eye(9)[(numbers // side // 4 * 3 + numbers % side // 4).ravel()]
    system = np.block([[steps.T @ steps, member], [member.T, np.zeros((9, 9))]])
    wanted = np.r_[np.zeros(side * side), masses.numpy().ravel()]
    smoothest = np.linalg.solve(system, wanted)[: side * side].reshape(side, side)
    assert smoothest.min() > 0  # or it would have to be cut there
    found = conserving.tobler(masses, cells)
    np.testing.assert_allclose(found.numpy(), smoothest, rtol=1e-3)
    np.testing.assert_allclose(cells.sum(found).numpy(), masses.numpy(), rtol=1e-12)


@pytest.mark.parametrize("masses", [[[0.0, 8.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_a_pycnophylactic_map_has_nothing_where_there_is_no_mass(masses):
    masses, cells = torch.tensor(masses, dtype=torch.float64), grid((2, 2), (6, 8))
    found = conserving.tobler(masses, cells)
    assert found.min() >= 0
    np.testing.assert_allclose(cells.sum(found).numpy(), masses.numpy(), atol=1e-12)


def test_a_conserving_guided_filter_scales_each_cell_of_the_filtered_map():
    one = subject(positive=True)
    filtered, scaled = (
        PEERS[name].draw(one, "gradcam").values.clamp(min=0) for name in ("guided", "guided-conserving")
    )
    rows, columns = one.coarse("gradcam").values.shape
    blocks = [
        values.reshape(rows, SIZE // rows, columns, -1).swapaxes(1, 2).flatten(2)
        for values in (filtered, scaled)
    ]
    sums = [block.sum(-1, keepdim=True) for block in blocks]
    kept = sums[1][..., 0] > 0
    assert kept.any()
    torch.testing.assert_close((blocks[1] / sums[1])[kept], (blocks[0] / sums[0])[kept], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["guided-conserving", "pycnophylactic"])
def test_conserving_peers_share_both_signs_apart(name):
    one = subject()
    cells = one.coarse("gradcam").values
    assert (cells < 0).any()
    assert (cells > 0).any()
    blocks = PEERS[name].draw(one, "gradcam").values
    for sign in (1, -1):  # a cell's own sign is all that is left of it after smoothing by signs and cells
        inside = grid(tuple(cells.shape), one.size).spread((sign * cells > 0).double()) > 0
        assert (sign * blocks[inside] >= 0).all()


@pytest.mark.parametrize("name", ["constant", "rise", "shap-partition"])
def test_without_a_coarse_map_there_is_no_d1_error(name):
    made = CONTESTANTS[name].draw(subject(), "none")
    assert math.isnan(made.d1_error)
    assert math.isnan(made.d1_relative)


def test_rise_is_the_mean_of_its_masks_weighted_by_the_answers():
    one = subject()
    seen = []
    keep = one.keep
    one.keep = lambda masks: seen.append((masks, keep(masks))) or seen[-1][1]
    found = peers.rise(one, 40).numpy()
    slow = np.zeros((SIZE, SIZE))
    for masks, answers in seen:
        for mask, answer in zip(masks.numpy().astype(np.float64), answers.tolist(), strict=True):
            slow += mask * answer
    assert sum(len(masks) for masks, _ in seen) == 40
    np.testing.assert_allclose(found, slow / 40 / peers.RISE_KEPT, atol=1e-12)


@pytest.mark.parametrize("passes", [10, 40, 200])
def test_occlusion_is_what_windows_take_away(passes):
    one = subject()
    found = peers.occlusion(one, passes).numpy()
    spent = one.model.passes
    stride = next(
        step for step in range(1, SIZE + 1) if (1 + math.ceil(max(0, SIZE - 2 * step) / step)) ** 2 < passes
    )
    side, total, count = min(2 * stride, SIZE), np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    whole = float(one.answers(one.inputs[None]))
    for top in range(0, SIZE - side + stride, stride):
        for left in range(0, SIZE - side + stride, stride):
            place = (slice(top, top + side), slice(left, left + side))
            hidden = one.inputs.clone()
            hidden[:, place[0], place[1]] = one.fill[:, place[0], place[1]]
            total[place] += whole - float(one.answers(hidden[None]))
            count[place] += 1
    assert spent <= passes
    np.testing.assert_allclose(found, total / count, atol=1e-6)


def test_refinecam_is_the_librarys_on_the_last_layer_of_each_resolution():
    from pytorch_grad_cam import RefineCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = small_cnn()
    one = subject(model)
    assert [layer.name for layer in peers.resolutions(one)] == ["model.1", "model.4"]
    cam = RefineCAM(model, [model[1], model[4]])
    expected = cam(one.inputs[None], [ClassifierOutputTarget(one.target)])[0]
    np.testing.assert_allclose(peers.refinecam(one).numpy(), expected, atol=1e-6)


def test_xrai_ranks_regions_of_the_target():
    one = subject()
    before = fingerprint(one.model.model)
    found = PEERS["xrai"].draw(one, "none")
    assert found.cost.passes > 0
    assert 1 < len(found.values.unique()) < SIZE * SIZE  # regions, not pixels
    assert fingerprint(one.model.model) == before


def test_scattered_segments_are_voronoi_cells():
    labels = scattered_segments((9, 7), 5, np.random.default_rng(0)).numpy()
    assert sorted(np.unique(labels)) == [0, 1, 2, 3, 4]
    sites = np.random.default_rng(0).choice(63, 5, replace=False)
    for y in range(9):
        for x in range(7):
            distances = [(y - site // 7) ** 2 + (x - site % 7) ** 2 for site in sites]
            assert distances[labels[y, x]] == min(distances)


def test_a_map_of_another_size_is_refused():
    broken = Contestant(lambda *_: torch.zeros(SIZE, SIZE + 1), ())
    with pytest.raises(
        ValueError, match=rf"the map has shape \({SIZE}, {SIZE + 1}\), not \({SIZE}, {SIZE}\)"
    ):
        broken.draw(subject(), "none")


def test_a_map_that_is_not_finite_is_told_from_others():
    broken = Contestant(lambda *_: torch.full((SIZE, SIZE), math.nan), ())
    assert not broken.draw(subject(), "none").finite
    assert CONTESTANTS["constant"].draw(subject(), "none").finite


def test_tables_have_words_for_every_contestant():
    from usu.bench.tables.labels import TITLES

    assert set(TITLES["contestant"]) == set(CONTESTANTS)
