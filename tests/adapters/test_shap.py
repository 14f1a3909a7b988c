"""SHAP's partition explainer: its rectangles read off its tree, its values on them, every pass counted."""

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.adapters import shap as adapter
from usu.models.baselines import make_fill
from usu.sources.shap import ShapSource
from usu.sources.shap import library as from_shap  # where its warnings are kept quiet

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}
TARGETS = [4, 2]
SOURCE = ShapSource(max_evals=40)


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(2, 3, 10, 16, generator=torch.Generator().manual_seed(1))


class Watched(nn.Module):
    """A network that keeps what it was given."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, batch):
        self.seen.append(batch.clone())
        return self.inner(batch)


def explain_directly(model, images, fill, max_evals, outputs=slice(None)):
    """Call the library as its users do: one masker, NHWC arrays."""

    def forward_func(masked):
        logits = model(torch.from_numpy(masked).movedim(-1, 1).contiguous()).detach().double().numpy()
        return logits[:, outputs]

    array = fill.movedim(0, -1).contiguous().numpy()
    explainer = from_shap.PartitionExplainer(forward_func, from_shap.maskers.Image(array, shape=array.shape))
    np.random.seed(0)  # noqa: NPY002
    return explainer(
        images.movedim(1, -1).contiguous().numpy(), max_evals=max_evals, batch_size=16, silent=True
    )


@pytest.mark.parametrize("max_evals", [4, 41, 160])
def test_values_are_the_librarys_on_its_rectangles(model, batch, max_evals):
    found = ShapSource(max_evals=max_evals)(model, batch, TARGETS, None)
    assert (found.mass, found.source, found.layer) == ("total", "shap", None)
    for image, target in enumerate(TARGETS):
        one, fill = batch[image : image + 1], make_fill(batch[image : image + 1], "blur")[0]
        direct = explain_directly(model, one, fill, max_evals, target).values[0].sum(-1)
        labels, values = found.neighbourhoods[image].numpy(), found.values[image].double().numpy()
        areas = np.bincount(labels.ravel())
        assert np.allclose((values / areas)[labels], direct, atol=1e-5 * np.abs(direct).max())
        assert np.abs(values).min() > 0
        for label in range(len(values)):
            rows, columns = np.nonzero(labels == label)
            assert areas[label] == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


@pytest.mark.parametrize("max_evals", [4, 40, 161])
def test_rectangles_are_those_that_were_ever_masked_apart(model, batch, max_evals):
    watched = Watched(model).eval()
    image = batch[:1]
    found = ShapSource(max_evals=max_evals)(watched, image, [4], None)
    kept = (torch.cat(watched.seen) == image).all(1).flatten(1)  # in which passes each pixel was kept
    _, expected = kept.unique(dim=1, return_inverse=True)
    pairs = torch.stack([expected, found.neighbourhoods[0].flatten()]).unique(dim=1)
    assert pairs.shape[1] == len(found.values[0]) == int(expected.max()) + 1


def test_pixels_are_whole_where_channels_are_told_apart(model):
    image = torch.randn(1, 3, 2, 3, generator=torch.Generator().manual_seed(2))
    found = ShapSource(max_evals=5000, baselines="zeros")(model, image, [1], None)
    assert found.neighbourhoods[0].flatten().unique().tolist() == list(range(6))
    direct = explain_directly(model, image, torch.zeros(3, 2, 3), 5000, 1).values[0]
    assert np.ptp(direct, axis=-1).min() > 1e-4  # the library came down to channels
    assert np.allclose(found.values[0].numpy()[found.neighbourhoods[0].numpy()], direct.sum(-1), atol=1e-5)


@pytest.mark.parametrize("baselines", ["blur", "zeros"])
def test_values_sum_to_the_difference_of_answers(model, batch, baselines):
    found = ShapSource(max_evals=40, baselines=baselines)(model, batch, TARGETS, None)
    difference = (model(batch) - model(make_fill(batch, baselines)))[range(2), TARGETS]
    sums = torch.stack([values.sum() for values in found.values])
    assert torch.allclose(sums, difference, atol=1e-5)


def test_mass_is_conserved_to_pixels(model, batch):
    coarse = SOURCE(model, batch, TARGETS, None)
    found = usu.explain(model, batch, TARGETS, source=SOURCE, **OPTIONS)
    for one, values, labels in zip(found, coarse.values, coarse.neighbourhoods, strict=True):
        sums = torch.zeros(len(values)).index_add(0, labels.flatten(), one.attribution.flatten())
        assert torch.allclose(sums, values, atol=1e-5 * float(values.abs().max()))
        assert (one.source, one.mass) == ("shap", "total")


@pytest.mark.parametrize(("max_evals", "expected"), [(4, 4), (40, 40), (41, 42), (160, 160)])
def test_forward_passes_are_what_the_model_saw(model, batch, max_evals, expected):
    watched = Watched(model).eval()
    found = ShapSource(max_evals=max_evals)(watched, batch, TARGETS, None)
    assert found.forward_passes == (expected, expected)
    assert sum(map(len, watched.seen)) == 2 * expected
    assert max(map(len, watched.seen)) <= 16


def test_the_model_gets_what_it_takes(model, batch, device):
    watched = Watched(model.to(device, torch.float64)).eval()
    found = SOURCE(watched, batch.to(device, torch.float64), TARGETS, None)
    assert {(seen.dtype, seen.shape[1:], seen.is_contiguous()) for seen in watched.seen} == {
        (torch.float64, (3, 10, 16), True)
    }
    assert {values.dtype for values in found.values} == {torch.float64}
    assert torch.equal(watched.seen[1], batch[:1].to(device, torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(model, batch, dtype):
    found = SOURCE(model.to(dtype), batch.to(dtype), TARGETS, None)
    assert {values.dtype for values in found.values} == {dtype}
    logits = (model(batch.to(dtype)) - model(make_fill(batch.to(dtype), "blur")))[range(2), TARGETS]
    sums = torch.stack([values.float().sum() for values in found.values])
    assert torch.allclose(sums, logits.float(), atol=0.01)


def test_batch_equals_one_by_one(model, batch):
    together = SOURCE(model, batch, TARGETS, None)
    for image, target in enumerate(TARGETS):
        alone = SOURCE(model, batch[image : image + 1], [target], None)
        assert torch.equal(together.neighbourhoods[image], alone.neighbourhoods[0])
        assert torch.allclose(together.values[image], alone.values[0], atol=1e-6)


def test_target_may_be_a_callable_on_the_output(model, batch):
    by_index = SOURCE(model, batch, [2, 2], None)
    called = SOURCE(model, batch, [lambda outputs: outputs[:, 2]] * 2, None)
    assert all(map(torch.equal, by_index.values, called.values))


def test_nothing_is_printed_and_no_global_state_changes(model, batch, capfd):
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    found = [SOURCE(model, batch, TARGETS, None).values[0] for _ in range(2)]
    after = np.random.get_state()  # noqa: NPY002
    assert torch.equal(*found)
    assert all(np.array_equal(one, other) for one, other in zip(numpy_state, after, strict=True))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.is_grad_enabled()
    assert capfd.readouterr() == ("", "")


def test_model_is_left_as_it_was_found(model, batch):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    before = fingerprint(model)
    SOURCE(model, batch, TARGETS, None)
    assert fingerprint(model) == before
    assert not batch.requires_grad


class Failing(nn.Module):
    """A network that fails at one of its calls, after its layers."""

    def __init__(self, inner, failing_call):
        super().__init__()
        self.inner, self.left = inner, failing_call

    def forward(self, batch):
        outputs = self.inner(batch)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck")
        return outputs


@pytest.mark.parametrize("failing_call", [1, 2, 4])
def test_all_is_left_as_it_was_found_after_an_exception(model, batch, failing_call):
    failing, state = Failing(model, failing_call).eval(), np.random.get_state()[1].copy()  # noqa: NPY002
    before = fingerprint(failing)
    with pytest.raises(RuntimeError, match="out of luck"):
        SOURCE(failing, batch, TARGETS, None)
    assert fingerprint(failing) == before
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [1, 2, 3]}, "target must be one index or 2, one per image"),
        ({"targets": [1, 5]}, "target must be below the model's 5 classes, got 5"),
        ({"layer": "4"}, "layer must be None for source .*, got '4'"),
    ],
)
def test_bad_values(model, batch, change, message):
    arguments = {"model": model, "inputs": batch, "targets": TARGETS, "layer": None, **change}
    with pytest.raises(ValueError, match=message):
        SOURCE(**arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_evals": 3}, ValueError, "max_evals must be at least 4, got 3"),
        ({"max_evals": "a"}, TypeError, "max_evals must be an integer, got 'a'"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_bad_settings(options, error, message):
    with pytest.raises(error, match=message):
        ShapSource(**options)


def test_training_mode_is_refused(model, batch):
    with pytest.raises(ValueError, match="training mode"):
        SOURCE(model.train(), batch, TARGETS, None)


# --- explanations of one's own


def test_an_explanation_of_the_librarys_own(model, batch):
    fill = torch.zeros(3, 10, 16)
    explained = explain_directly(model, batch, fill, 40)  # five outputs
    found = adapter.upsample(explained[..., 2], batch, model, 2, **OPTIONS)
    assert [one.mass for one in found] == ["total", "total"]
    difference = (model(batch) - model(fill[None]))[:, 2].tolist()
    for one, raw, total in zip(found, explained.values[..., 2], difference, strict=True):
        labels, pixels = torch.as_tensor(one.neighbourhoods), raw.sum(-1)
        values = np.bincount(labels.flatten(), weights=pixels.ravel())
        assert np.allclose(torch.as_tensor(one.coarse), values, atol=1e-6)
        sums = np.bincount(labels.flatten(), weights=one.attribution.double().flatten())
        assert np.allclose(sums, values, atol=1e-5)
        assert one.attribution.sum().item() == pytest.approx(total, abs=1e-5)


def test_an_explanation_of_one_image(model, batch):
    explained = explain_directly(model, batch[:1], torch.zeros(3, 10, 16), 40, 1)
    alone = adapter.upsample(explained[0], batch[0], model, 1, **OPTIONS)
    (together,) = adapter.upsample(explained, batch[:1], model, 1, **OPTIONS)
    assert torch.equal(alone.attribution, together.attribution)


def test_explanations_that_do_not_fit(model, batch):
    explained = explain_directly(model, batch, torch.zeros(3, 10, 16), 10)
    with pytest.raises(ValueError, match=r"of several outputs take one, explanation\[\.\.\., 0\]"):
        adapter.upsample(explained, batch, model, 2, **OPTIONS)
    with pytest.raises(ValueError, match="for each of 1 images"):
        adapter.upsample(explained[..., 2], batch[:1], model, 2, **OPTIONS)
    plain = from_shap.Explanation(explained[..., 2].values)
    with pytest.raises(ValueError, match="explanation has no partition tree"):
        adapter.upsample(plain, batch, model, 2, **OPTIONS)


def cells_by_the_library(model, batch, fill, max_evals, target):
    """Count the parts that an explanation of all outputs told apart for one image: by the masks it ran."""
    watched = Watched(model).eval()
    explain_directly(watched, batch, fill, max_evals)
    kept = (torch.cat(watched.seen) == batch).all(1).flatten(1)
    return kept.unique(dim=1).shape[1]


SLICES = {
    "one of five": lambda explained: explained[..., 2],
    "one of two of five": lambda explained: explained[..., 1:3][..., 1],
    "all axes named": lambda explained: explained[:, :, :, :, 2],
    "its axis kept": lambda explained: explained[..., [2]],
}


@pytest.mark.parametrize("way", SLICES)
def test_a_slice_of_several_outputs_has_its_own_rectangles(model, way):
    batch = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    explained = explain_directly(model, batch, torch.zeros(3, 16, 16), 20)
    (found,) = adapter.upsample(SLICES[way](explained), batch, model, 2, **OPTIONS)
    labels = torch.as_tensor(found.neighbourhoods)
    cells = cells_by_the_library(model, batch, torch.zeros(3, 16, 16), 20, 2)
    assert len(found.coarse) == int(labels.max()) + 1 == cells < 256
    pixels = explained.values[0, ..., 2].sum(-1)
    areas = np.bincount(labels.flatten())
    assert np.allclose((np.asarray(found.coarse) / areas)[labels], pixels, atol=1e-6)
    sums = np.bincount(labels.flatten(), weights=found.attribution.double().flatten())
    assert np.allclose(sums, found.coarse, atol=1e-5)
    moved = np.abs(np.asarray(found.attribution) - pixels).max()
    assert moved > 0.1 * np.abs(pixels).max()  # within rectangles


@pytest.mark.parametrize("outputs", [2, slice(2, 3)])
def test_one_output_with_and_without_its_axis(model, batch, outputs):
    explained = explain_directly(model, batch, torch.zeros(3, 10, 16), 20, outputs)
    for one in adapter.upsample(explained, batch, model, 2, **OPTIONS):
        assert 1 < len(one.coarse) < 160
    if explained.values.ndim == 5:
        sliced = adapter.upsample(explained[..., 0], batch, model, 2, **OPTIONS)
        whole = adapter.upsample(explained, batch, model, 2, **OPTIONS)
        assert all(
            torch.equal(*pair)
            for pair in zip(*([one.coarse for one in found] for found in (sliced, whole)), strict=True)
        )


def test_one_image_and_one_output_of_several(model, batch):
    explained = explain_directly(model, batch, torch.zeros(3, 10, 16), 20)
    together = adapter.upsample(explained[..., 4], batch, model, 4, **OPTIONS)
    for number, several in enumerate(together):
        for sliced in (explained[number][..., 4], explained[..., 4][number], explained[number, ..., 4]):
            alone = adapter.upsample(sliced, batch[number], model, 4, **OPTIONS)
            assert torch.equal(alone.coarse, several.coarse)


def test_values_that_are_no_output_of_the_tree_are_refused(model, batch):
    explained = explain_directly(model, batch, torch.zeros(3, 10, 16), 20)
    mixed = explained[..., 2]
    mixed.values = mixed.values + explained.values[..., 3]
    with pytest.raises(ValueError, match=r"a tree of 5 outputs, and its values are those of none"):
        adapter.upsample(mixed, batch, model, 2, **OPTIONS)
