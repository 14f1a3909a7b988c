"""Scores by masked perturbation, on models whose answers are worked out by hand."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.networks import small_cnn
from usu import score_segments, upsample
from usu.models.baselines import FILLS, make_fill

WEIGHTS = torch.tensor([[1.0, 1.0, 0.0], [0.0, -2.0, 3.0]])
LABELS = torch.tensor([[0, 0, 1], [2, 2, 1]])


def linear(batch: torch.Tensor) -> torch.Tensor:
    """Class 1 scores the weighted sum of channel 0, class 0 scores 0."""
    total = (batch[:, 0] * WEIGHTS.to(batch)).sum((1, 2))
    return torch.stack([torch.zeros_like(total), total], dim=1)


def score(inputs=None, forward_func=linear, segments=LABELS, target=1, **options):
    inputs = torch.ones(1, 2, 3) if inputs is None else inputs
    options = {"baselines": "zeros", "output": "logit", **options}
    return score_segments(forward_func, inputs, segments, target, **options)


def test_masking_by_hand():
    result = score()
    # Segment 0 carries 1 + 1, segment 1 carries 0 + 3, segment 2 carries 0 - 2; the whole is 3.
    assert result.raw_scores.tolist() == [2.0, 3.0, -2.0]
    assert torch.allclose(result.scores, torch.tensor([2 / 3, 1.0, 0.0]))
    assert result.output == 3.0
    assert result.forward_passes == 1 + 3


def test_keeping_by_hand():
    # The fill is 1 everywhere: f(fill) = 3, and keeping a segment of twos adds its weight once more.
    result = score(2 * torch.ones(1, 2, 3), scoring="keep", baselines=torch.ones(1, 1, 1))
    assert result.raw_scores.tolist() == [2.0, 3.0, -2.0]
    assert result.forward_passes == 1 + 3 + 1


def test_both_is_the_mean_of_the_two():
    def squared(batch):
        return linear(batch) ** 2

    masked, kept, both = (score(forward_func=squared, scoring=name) for name in ("mask", "keep", "both"))
    assert masked.raw_scores.tolist() == [9 - 1, 9 - 0, 9 - 25]
    assert kept.raw_scores.tolist() == [4, 9, 4]
    assert both.raw_scores.tolist() == [6, 9, -6]
    assert both.forward_passes == 1 + 3 + 3 + 1


def test_probability_is_the_default_output():
    result = score_segments(linear, torch.ones(1, 2, 3), LABELS, 1, baselines="zeros")
    whole, without = torch.sigmoid(torch.tensor(3.0)), torch.sigmoid(torch.tensor([1.0, 0.0, 5.0]))
    assert torch.allclose(result.raw_scores, whole - without)


def test_callable_output():
    result = score(output=lambda outputs: outputs * 10)
    assert result.raw_scores.tolist() == [20.0, 30.0, -20.0]


def test_no_positive_score_gives_scores_of_zero():
    result = score(target=0)
    assert result.raw_scores.tolist() == [0.0, 0.0, 0.0]
    assert result.scores.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("chunk", [1, 2, 3, 64])
def test_chunks_change_nothing_and_bound_the_batch(chunk):
    sizes = []

    def counting(batch):
        sizes.append(len(batch))
        return linear(batch)

    result = score(forward_func=counting, perturbations_per_eval=chunk)
    assert result.raw_scores.tolist() == [2.0, 3.0, -2.0]
    assert max(sizes) <= chunk
    assert sum(sizes) == result.forward_passes


def test_batch_equals_one_by_one_and_is_filled_across_images():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(3, 1, 2, 3, generator=generator)
    maps = [LABELS, torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.zeros(2, 3, dtype=torch.int64)]
    sizes = []

    def counting(batch):
        sizes.append(len(batch))
        return linear(batch)

    together = score(inputs, forward_func=counting, segments=maps, target=[1, 1, 0], perturbations_per_eval=4)
    assert sizes == [3, 4, 4, 2]  # the whole images, then 3 + 6 + 1 segments in full batches
    for image, result in enumerate(together):
        alone = score(inputs[image], segments=maps[image], target=[1, 1, 0][image])
        assert torch.allclose(result.raw_scores, alone.raw_scores)
        assert result.forward_passes == alone.forward_passes


def test_each_image_has_its_own_target_also_beyond_the_first_chunk():
    model, inputs = small_cnn(), torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    options = {"scoring": "both", "perturbations_per_eval": 2}
    explained = {**options, "segmentation": {"quadtree": (16,)}}
    together = score_segments(model, inputs, labels, [0, 1, 2, 3, 4], **options)
    records = upsample(torch.ones(5, 4, 4), inputs, model, [0, 1, 2, 3, 4], **explained)
    for target, (image, result, record) in enumerate(zip(inputs, together, records, strict=True)):
        alone = score_segments(model, image, labels, target, **options)
        torch.testing.assert_close(result.raw_scores, alone.raw_scores)
        assert result.output == pytest.approx(alone.output)
        one = upsample(torch.ones(4, 4), image, model, target, **explained)
        assert record.probability == pytest.approx(one.probability) == pytest.approx(alone.output)


def test_numpy_in_numpy_out_for_any_callable():
    def session(batch):
        assert isinstance(batch, np.ndarray)
        return linear(torch.from_numpy(batch)).numpy()

    result = score(np.ones((1, 2, 3), dtype=np.float32), forward_func=session)
    assert isinstance(result.raw_scores, np.ndarray)
    assert result.raw_scores.tolist() == [2.0, 3.0, -2.0]


def test_memory_does_not_grow_with_the_number_of_segments(young):
    alive = []

    def watching(batch):
        gc.collect()
        images = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and t.shape[-3:] == (1, 40, 50)]
        alive.append(sum(t.numel() for t in images if t.dim() == 4))
        return batch.mean((2, 3)).repeat(1, 2)

    for count in (50, 400):
        labels = torch.arange(2000).view(40, 50) * count // 2000
        score(torch.rand(1, 40, 50), forward_func=watching, segments=labels, perturbations_per_eval=8)
    assert max(alive) <= 4 * 8 * 40 * 50


@pytest.mark.parametrize("fill", FILLS)
def test_fills_keep_shape_and_are_finite(fill):
    inputs = torch.rand(2, 3, 17, 30, generator=torch.Generator().manual_seed(0))
    filled = make_fill(inputs, fill)
    assert filled.shape == inputs.shape
    assert filled.isfinite().all()
    assert torch.equal(filled, make_fill(inputs, fill))  # noise is seeded


def test_fill_values():
    inputs = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 1
    assert torch.allclose(make_fill(inputs, "mean"), inputs.mean((2, 3), keepdim=True).expand_as(inputs))
    blurred = make_fill(inputs, "blur")
    assert blurred.std() < 0.35 * inputs.std()
    assert torch.allclose(blurred.mean(), inputs.mean(), atol=0.02)
    assert torch.allclose(make_fill(torch.full((1, 1, 9, 5), 0.3), "blur"), torch.tensor(0.3))
    assert torch.equal(make_fill(inputs, lambda x: -x), -inputs)


def test_noise_has_each_channels_mean_and_deviation():
    means, deviations = torch.tensor([5.0, -2.0, 0.0]), torch.tensor([0.1, 1.0, 3.0])
    drawn = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    filled = make_fill(means.view(3, 1, 1) + deviations.view(3, 1, 1) * drawn, "noise")[0]
    assert ((filled.mean((1, 2)) - means).abs() <= 0.1 * deviations).all()
    assert ((filled.std((1, 2)) - deviations).abs() <= 0.1 * deviations).all()


def test_blur_is_a_gaussian():
    from scipy.ndimage import gaussian_filter

    plane = np.random.default_rng(0).random((48, 64))
    expected = gaussian_filter(plane, 4.0, mode="mirror", truncate=3.0)
    found = make_fill(torch.from_numpy(plane)[None, None], "blur")[0, 0].numpy()
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.ones(2, 3)}, r"inputs must be \(C, H, W\)"),
        ({"inputs": torch.full((1, 2, 3), torch.nan)}, "inputs must be finite"),
        ({"segments": torch.zeros(3, 3, dtype=torch.int64)}, r"segments must be a label map of the inp"),
        ({"segments": torch.tensor([[0, 0, 2], [2, 2, 2]])}, r"segments has no pixel for label 1"),
        ({"segments": torch.tensor([[0, 0, -1], [1, 1, 1]])}, "segments has the label -1"),
        ({"segments": [LABELS, LABELS]}, "segments has 2 label maps for 1 inputs"),
        ({"target": 2}, "target must be below the model's 2 classes, got 2"),
        ({"target": -1}, "target must be a class index from 0 up"),
        ({"target": [1, 1]}, "target must be one index for one image"),
        ({"scoring": "guess"}, "scoring must be one of"),
        ({"output": "odds"}, "output must be one of"),
        ({"output": lambda outputs: outputs[:, 0]}, "output must keep the shape"),
        ({"baselines": "black"}, "baselines must be one of"),
        ({"baselines": torch.zeros(5)}, r"baselines of shape \(5,\) does not broadcast"),
        ({"baselines": torch.full((1, 1, 1), torch.inf)}, "baselines must be finite"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1"),
        (
            {"forward_func": lambda batch: batch.sum((1, 2, 3))},
            "target must be below the model.s 1 classes, got 1",
        ),
        ({"forward_func": lambda batch: linear(batch).repeat(2, 1)}, r"the model's output must be \(1, cl"),
        ({"forward_func": lambda batch: linear(batch) / 0}, "the model's output has NaN or infinite"),
        ({"forward_func": nn.Flatten()}, "in training mode"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ValueError, match=message):
        score(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": "cat.jpg"}, "inputs must be an array"),
        ({"segments": torch.zeros(2, 3)}, "segments must be integer labels"),
        ({"target": 1.0}, "target must be a class index"),
        ({"target": "cat"}, "target must be a class index"),
        ({"forward_func": 3}, "forward_func must be callable"),
        ({"forward_func": lambda batch: (linear(batch), linear(batch))}, "several could be the scores"),
        ({"perturbations_per_eval": 2.5}, "perturbations_per_eval must be an integer"),
        ({"baselines": object()}, "baselines must be"),
    ],
)
def test_bad_types(change, message):
    with pytest.raises(TypeError, match=message):
        score(**change)


def test_segments_batch_as_one_array_and_one_map_for_all():
    inputs = torch.ones(2, 1, 2, 3)
    for maps in (torch.stack([LABELS, LABELS]), LABELS):
        results = score(inputs, segments=maps)
        assert [result.raw_scores.tolist() for result in results] == [[2.0, 3.0, -2.0]] * 2


def test_part_of_a_model_in_training_mode_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(6, 2)).eval()
    model[1].train()
    with pytest.raises(ValueError, match=r"the first is 1\); call model.eval\(\)"):
        score(forward_func=model)
