"""Signals and volumes through the whole pipeline, each stage against an independent computation."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint
from tests.helpers.reference import grid_labels
from usu.models.baselines import make_fill
from usu.models.tokens import Tokens

SIZES = {1: (75,), 3: (10, 13, 12)}  # no multiples of the cells
FEW = {1: {"changepoints": (3, 6), "watershed": (4,)}, 3: {"slic": (3, 6), "watershed": (4,)}}
both = pytest.mark.parametrize("ndim", [1, 3])


def network(ndim, channels=2, classes=3, pool=True):
    """Two convolutions over a signal or a volume, global average pooling, one linear layer."""
    torch.manual_seed(ndim)
    convolution, pooling, norm = (
        getattr(nn, f"{kind}{ndim}d") for kind in ("Conv", "AdaptiveAvgPool", "BatchNorm")
    )
    return nn.Sequential(
        convolution(channels, 6, 5, stride=2, padding=2),
        norm(6),
        nn.ReLU(),
        convolution(6, 9, 3, stride=2, padding=1),
        nn.ReLU(),
        pooling(1),
        nn.Flatten(),
        nn.Linear(9, classes),
    ).eval()


def inputs(ndim, count=None, channels=2):
    torch.manual_seed(10 + ndim)
    return torch.randn(*(() if count is None else (count,)), channels, *SIZES[ndim])


def by_hooks(model, layer, x, target):
    """Return Σ_c mean(∂f/∂A_c)·A_c of the layer, for one input, by PyTorch alone."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[-1]))
    answer = model(x[None].clone().requires_grad_())[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(answer, kept[0])
    weights = gradient.flatten(2).mean(2)[0]
    return torch.einsum("c,c...->...", weights, kept[0][0]).detach()


@both
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_gradcam_of_the_last_convolution_is_that_of_hooks(ndim, kind):
    model, x = network(ndim), inputs(ndim, 2)
    before = fingerprint(model)
    given = x if kind == "torch" else x.numpy()
    found = usu.explain(model, given, [2, 0], ndim=ndim, segmentation=FEW[ndim])
    assert fingerprint(model) == before
    for one, own, target in zip(found, x, (2, 0), strict=True):
        assert (one.layer, one.target, one.settings["ndim"]) == ("4", target, ndim)
        assert isinstance(one.attribution, torch.Tensor if kind == "torch" else np.ndarray)
        assert (one.attribution.shape, one.image.shape) == (SIZES[ndim], own.shape)
        expected = by_hooks(model, "4", own, target)
        np.testing.assert_allclose(np.asarray(one.coarse), expected, rtol=1e-4, atol=1e-6)
        mass, coarse = np.asarray(one.attribution, dtype=float), np.asarray(one.coarse, dtype=float)
        np.testing.assert_allclose(
            mass.sum(), coarse.sum(), rtol=1e-4, atol=1e-6
        )  # the default map's promise


@both
@pytest.mark.parametrize("setting", [{}, {"continuous": True}, {"scoring": "owen", "passes": 12}])
def test_each_cell_keeps_its_mass_end_to_end(ndim, setting):
    model, x = network(ndim).double(), inputs(ndim).double()
    counts = dict.fromkeys(FEW[ndim], (4,))
    found = usu.explain(model, x, 1, ndim=ndim, mode="usu", segmentation=counts, **setting)
    labels = np.array(grid_labels(found.coarse.shape, SIZES[ndim]))
    sums = [found.attribution.flatten()[labels == cell].sum() for cell in range(labels.max() + 1)]
    np.testing.assert_allclose(sums, found.coarse.flatten(), rtol=1e-9, atol=1e-12)
    assert float(found.score_map.std()) > 0  # the scores shared it, not evenly


@both
def test_masking_is_that_of_a_loop(ndim):
    model, x = network(ndim).double(), inputs(ndim).double()
    options = {"segmentation": FEW[ndim], "mode": "usu", "scoring": "mask", "baselines": "mean"}
    found = usu.explain(model, x, 1, ndim=ndim, **options)
    filled = x.flatten(1).mean(1).view(-1, *(1,) * ndim).expand_as(x)

    def answer(image):
        with torch.no_grad():
            return float(model(image[None]).softmax(1)[0, 1])

    assert sum(len(raw) for raw in found.raw_scores) == 3 + 6 + 4
    for labels, raw in zip(found.partitions, found.raw_scores, strict=True):
        for segment, value in enumerate(raw.tolist()):
            masked = x.clone()
            for place in (labels == segment).nonzero().tolist():
                where = (slice(None), *place)
                masked[where] = filled[where]
            assert value == pytest.approx(answer(x) - answer(masked), abs=1e-9)


@both
def test_the_blur_is_scipys_with_mirrored_borders(ndim):
    from scipy.ndimage import gaussian_filter1d

    x = inputs(ndim, 2).double()
    sigma, expected = max(SIZES[ndim]) / 16, x.numpy()
    for axis, side in enumerate(SIZES[ndim], start=2):
        radius = min(int(3 * sigma + 0.5), side - 1)
        expected = gaussian_filter1d(expected, sigma, axis=axis, mode="mirror", radius=radius)
    np.testing.assert_allclose(make_fill(x, "blur"), expected, rtol=1e-6, atol=1e-9)


def test_a_signal_worked_out_by_hand():
    weights = torch.tensor([2.0, 0.0, 1.0, 1.0])

    def model(batch):  # the answer is the weighted sum of the samples
        return (batch[:, 0] * weights).sum(1, keepdim=True)

    found = usu.upsample(
        torch.tensor([1.0, 3.0]),
        torch.ones(1, 4),
        model,
        0,
        ndim=1,
        mode="usu",
        mass="total",
        temperature=1.0,
        scoring="mask",
        baselines="zeros",
        output="logit",
        segmentation=usu.Hierarchy([torch.tensor([0, 1, 2, 2])]),
    )
    # Without sample 0, 1 or the last two the answer falls by 2, 0 and 2: scores 1, 0 and 1.
    torch.testing.assert_close(found.raw_scores[0], torch.tensor([2.0, 0.0, 2.0]))
    e = math.e
    expected = torch.tensor([e / (e + 1), 1 / (e + 1), 1.5, 1.5])
    torch.testing.assert_close(found.attribution, expected)


def test_all_of_a_signals_owen_values_are_what_its_answer_is_above_the_fills():
    model, x = network(1), inputs(1)
    found = usu.explain(
        model, x, 1, ndim=1, mode="complete", segmentation={"changepoints": (8,)}, baselines="zeros"
    )
    with torch.no_grad():
        whole, fill = (float(model(each[None]).softmax(1)[0, 1]) for each in (x, torch.zeros_like(x)))
    assert float(found.attribution.sum()) == pytest.approx(whole - fill, abs=1e-6)


class ChannelsLast(nn.Module):
    """A signal's network whose last cells come as (B, cells, channels), where both could be cells."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv1d(2, 8, 5, stride=2, padding=2)  # (B, 8, 32)
        self.second = nn.Conv1d(8, 32, 5, stride=4, padding=2)  # (B, 32, 8)
        self.mixed = nn.Linear(32, 32)
        self.head = nn.Linear(32, 2)

    def forward(self, batch):
        cells = self.second(self.first(batch).relu()).relu().transpose(1, 2)  # (B, 8, 32)
        return self.head(self.mixed(cells).relu().mean(1))


def test_cells_of_a_signal_that_come_before_its_channels_are_found_by_trial():
    model = ChannelsLast().eval()
    torch.manual_seed(3)
    x = torch.randn(2, 64)
    found = usu.explain(model, x, 1, ndim=1, layer="mixed", segmentation={"changepoints": (4,)})
    kept = []
    handle = model.mixed.register_forward_hook(lambda *call: kept.append(call[-1]))
    answer = model(x[None].clone().requires_grad_())[0, 1]
    handle.remove()
    (gradient,) = torch.autograd.grad(answer, kept[0])
    expected = (kept[0][0] * gradient[0].mean(0)).sum(1)  # over channels, which are the last axis
    assert found.coarse.shape == (8,)
    torch.testing.assert_close(found.coarse, expected.detach(), rtol=1e-4, atol=1e-6)
    told = usu.explain(
        model, x, 1, ndim=1, layer="mixed", tokens=Tokens((8,), axis=1), segmentation={"changepoints": (4,)}
    )
    torch.testing.assert_close(told.coarse, found.coarse)


class SignalTransformer(nn.Module):
    """Patches of a signal as tokens after a class token, which alone is read: (B, 1 + 8, 16)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv1d(2, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        blocks = [nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(16, 2)

    def forward(self, batch):
        tokens = self.patches(batch).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(batch), -1, -1), tokens], 1)
        return self.head(self.blocks(tokens)[:, 0])


def test_tokens_of_a_signals_transformer_are_found_after_its_class_token():
    model, x = SignalTransformer().eval(), inputs(1)[:, :64]
    found = usu.explain(model, x, 1, ndim=1, segmentation={"changepoints": (4,)})
    assert found.layer == "blocks.0"  # after the last attention only the class token is read
    kept = []
    handle = model.blocks[0].register_forward_hook(lambda *call: kept.append(call[-1]))
    answer = model(x[None].clone().requires_grad_())[0, 1]
    handle.remove()
    (gradient,) = torch.autograd.grad(answer, kept[0])
    cells, slopes = kept[0][0, 1:], gradient[0, 1:]
    torch.testing.assert_close(found.coarse, (cells * slopes.mean(0)).sum(1).detach(), rtol=1e-4, atol=1e-6)


@both
def test_a_source_of_ones_own_gives_a_grid_or_labels_for_each_input(ndim):
    model, x = network(ndim), inputs(ndim, 2)
    seen = []

    def on_a_grid(model, batch, targets, layer, *, images):
        seen.append([image.shape for image in images])
        return usu.CoarseMap(torch.arange(2.0 * 2**ndim).view(2, *(2,) * ndim), mass="total")

    def on_labels(model, batch, targets, layer):
        labels = torch.arange(math.prod(SIZES[ndim])).view(SIZES[ndim]) * 3 // math.prod(SIZES[ndim])
        return usu.CoarseMap(
            torch.tensor([[1.0, 2, 3], [3, 2, 1]]),
            mass="total",
            neighbourhoods=torch.stack([labels, 2 - labels]),
        )

    for source, total in ((on_a_grid, 2.0**ndim * (2.0**ndim - 1) / 2), (on_labels, 6.0)):
        first, second = usu.explain(model, x, 1, ndim=ndim, source=source, mode="usu", segmentation=FEW[ndim])
        assert float(first.attribution.sum()) == pytest.approx(total, rel=1e-4)
    assert seen == [[x[0].shape] * 2]
    # The second input's labels run the other way, so that its cells have the masses of the first's.
    halves = [one.attribution.flatten() for one in (first, second)]
    third = len(halves[0]) // 3
    for one in halves:
        assert float(one[:third].sum()) == pytest.approx(1.0, rel=1e-3)


@both
def test_a_record_comes_back_from_its_file(ndim, tmp_path):
    found = usu.explain(network(ndim), inputs(ndim), 1, ndim=ndim, segmentation=FEW[ndim])
    found.save(tmp_path / "map.npz")
    back = usu.Explanation.load(tmp_path / "map.npz")
    for name in ("attribution", "coarse", "image", "score_map", "h_map"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name).numpy())
    np.testing.assert_allclose(back.upsampled_by("usu"), found.upsampled_by("usu").numpy(), rtol=1e-6)
    assert back.upsampled_by("bilinear").shape == SIZES[ndim]


@both
def test_occlusion_is_that_of_a_loop_over_cells(ndim):
    model, x = network(ndim), inputs(ndim)
    found = usu.explain(model, x, 1, ndim=ndim, source="occlusion", segmentation=FEW[ndim])
    fill, shape = make_fill(x[None], "blur")[0], found.coarse.shape
    labels = torch.tensor(grid_labels(shape, SIZES[ndim])).view(SIZES[ndim])
    with torch.no_grad():
        copies = [x] + [torch.where(labels == cell, fill, x) for cell in range(math.prod(shape))]
        answers = model(torch.stack(copies))[:, 1]
    torch.testing.assert_close(found.coarse.flatten(), answers[0] - answers[1:], rtol=1e-3, atol=1e-5)


@both
def test_a_model_is_left_as_it_was_when_its_answer_fails(ndim):
    model = network(ndim)
    before = fingerprint(model)
    with pytest.raises(ValueError, match="target"):
        usu.explain(model, inputs(ndim), 7, ndim=ndim)
    assert fingerprint(model) == before


@both
@pytest.mark.parametrize("source", ["rise", "shap", "lime", "fullgrad", "rollout", "scorecam", "ablationcam"])
def test_sources_of_pictures_say_so_at_once(ndim, source):
    with pytest.raises(ValueError, match=f"^source '{source}' is for 2-D pictures only"):
        usu.explain(network(ndim), inputs(ndim), 1, ndim=ndim, source=source, segmentation=FEW[ndim])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"segmentation": {"quadtree": (4,)}}, "^segmentation 'quadtree' is for 2-D only; with ndim=1 take"),
        ({"segmentation": {"slic": (4,)}}, "^segmentation 'slic' is for 2-D and 3-D only"),
        ({"kernel": "diagonal"}, "^kernel='diagonal' is for 2-D only"),
        ({"ndim": 4}, "^ndim must be 1 for signals, 2 for pictures or 3"),
        ({"ndim": 3}, r"^inputs must be \(C, D, H, W\) or a batch \(B, C, D, H, W\), as ndim=3 says"),
        ({"images": torch.zeros(2, 3)}, "^images must be one picture of the inputs' size"),
        (
            {"placement": usu.Placement.whole((9, 9))},
            "^placement is for 2-D pictures only",
        ),
    ],
)
def test_what_does_not_fit_a_signal_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        usu.explain(network(1), inputs(1), 1, **{"ndim": 1, **setting})


@both
def test_a_forgotten_ndim_is_named(ndim):
    with pytest.raises(ValueError, match=f"ndim={ndim}"):
        usu.explain(network(ndim), inputs(ndim), 1)
    with pytest.raises(ValueError, match=f"ndim={ndim}"):
        usu.explain(network(ndim), inputs(ndim, 2), 1)


def test_pictures_of_other_channels_ask_for_images_or_segments():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(5, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    x, picture = torch.randn(5, 16, 16), torch.rand(3, 16, 16)
    few = {"segmentation": {"slic": (4,)}}
    for source in ("gradcam", "lime"):
        with pytest.raises(ValueError, match=r"5 channels.*give images=.*usu\.Hierarchy\("):
            usu.explain(model, x, 1, source=source, **few)
        found = usu.explain(model, x, 1, source=source, images=picture, **few)
        torch.testing.assert_close(found.image, picture)
    superpixels = usu.segment(picture, (64,), "slic").levels[0]
    assert torch.equal(found.neighbourhoods, superpixels)
    halves = usu.Hierarchy([(torch.arange(256) // 128).view(16, 16)])
    own = usu.explain(model, x, 1, segmentation=halves)
    mean = x.mean(0)
    torch.testing.assert_close(own.image[1], (mean - mean.min()) / (mean.max() - mean.min()))
    depth = usu.explain(network_of_one(), torch.rand(1, 16, 16) * 7 + 2, 1, **few)
    assert depth.image.shape == (3, 16, 16)
    assert float(depth.image.max()) == pytest.approx(1)


def network_of_one():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return nn.Sequential(*layers).eval()


@both
def test_refine_and_score_segments_take_ndim(ndim):
    model, x = network(ndim), inputs(ndim)
    name = next(iter(FEW[ndim]))
    hierarchy = usu.segment(x, (3, 6), name, ndim=ndim)
    refined = usu.refine(model, x, hierarchy, 1, ndim=ndim, threshold=0.01)
    scored = usu.score_segments(model, x, hierarchy.levels[0], 1, ndim=ndim)
    torch.testing.assert_close(refined.raw_scores[0], scored.raw_scores)
    assert refined.h_maps[0].shape == SIZES[ndim]
