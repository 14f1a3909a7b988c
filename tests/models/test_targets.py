"""What can be explained: classes by index and name, and callables on any output."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import small_cnn
from usu.models.targets import answers, check_targets, find_class, find_link, name_of, probabilities
from usu.sources.rise import Rise

CLASSES = ["tabby", "Persian cat", "Siamese cat"]
OPTIONS = {"segmentation": {"quadtree": (4,)}, "scoring": "mask"}


def first(outputs):
    return outputs[:, 0]


def test_one_target_for_all_or_one_per_image():
    assert check_targets(2, 3, batched=True) == [2, 2, 2]
    assert check_targets(np.array([0, 1]), 2, batched=True) == [0, 1]
    assert check_targets("persian", 2, batched=True, class_names=CLASSES) == [1, 1]
    assert check_targets(["tabby", 2, first], 3, batched=True, class_names=CLASSES) == [0, 2, first]
    assert check_targets(first, 2, batched=True) == [first, first]


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("tabby", TypeError, "`class_names` given"),
        (1.5, TypeError, "class index"),
        ([first, 1.5], TypeError, "class index, a name or a callable"),
        ([first, True], TypeError, "class index, a name or a callable"),
        ([first, -1], ValueError, "from 0 up"),
        (-1, ValueError, "from 0 up"),
        ([first], ValueError, "one per image"),
        ([0, 1, 2], ValueError, "one per image"),
    ],
)
def test_bad_targets(target, error, words):
    with pytest.raises(error, match=words):
        check_targets(target, 2, batched=True)


@pytest.mark.parametrize(("target", "words"), [("cat", "fits several"), ("dog", "no class is named")])
def test_bad_names(target, words):
    with pytest.raises(ValueError, match=words):
        check_targets(target, 1, batched=False, class_names=CLASSES)


def test_an_exact_name_comes_before_an_index():
    assert find_class(["10", "20", "1", "2"], "1") == 2
    assert find_class(["10", "20", "30"], "1") == 1
    with pytest.raises(ValueError, match="class 20 is out of range"):
        find_class(["10", "200", "30"], "20")


def test_answers_by_hand():
    outputs = torch.tensor([[1.0, 2.0], [3.0, 5.0], [0.0, 0.0]])
    found = answers(outputs, [1, first, lambda scores: scores.sum(1)])
    assert found.tolist() == [2.0, 3.0, 0.0]
    halves = answers(outputs, [0, first, 1], find_link("probability"))
    assert halves.tolist() == pytest.approx([1 / (1 + np.e), 3.0, 0.5])
    assert probabilities(outputs, [0, first, 1]) == [pytest.approx(1 / (1 + np.e)), None, 0.5]


@pytest.mark.parametrize("source", ["gradcam", "rise"])
@pytest.mark.parametrize("mode", ["usu", "complete"])
def test_the_softmax_of_one_output_is_refused(source, mode):
    model, inputs = small_cnn(classes=1), torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"softmax is always 1: pass output='logit', or output='sigmoid'"):
        usu.explain(model, inputs, 0, mode=mode, source=source, segmentation={"quadtree": (4,)})


@pytest.mark.parametrize(("output", "link"), [("logit", lambda logits: logits), (torch.sigmoid,) * 2])
def test_one_output_is_explained_by_its_logit_or_its_sigmoid(output, link):
    model, inputs = small_cnn(classes=1), torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = usu.explain(model, inputs, output=output, baselines="zeros", **OPTIONS)
    masked = inputs.clone()
    masked[:, :8, :8] = 0
    with torch.no_grad():
        fall = (link(model(inputs[None])) - link(model(masked[None]))).item()
    assert float(found.raw_scores[0][0]) == pytest.approx(fall, abs=1e-6)
    assert abs(fall) > 1e-4
    assert found.probability is None
    values = Rise(masks=40, output=output)(model, inputs[None], [0], None).values
    assert values.abs().max() > 1e-4


def test_answers_are_differentiable():
    outputs = torch.randn(2, 3, requires_grad=True)
    answers(outputs, [2, first]).sum().backward()
    assert outputs.grad.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (lambda outputs: outputs, "one score for each of 2 images"),
        (lambda outputs: outputs[:, 0] / 0, "NaN or infinite"),
        (7, "below the model's 2 classes"),
    ],
)
def test_bad_answers(target, words):
    with pytest.raises(ValueError, match=words):
        answers(torch.ones(2, 2), [target, target])


def test_a_dictionary_needs_a_callable():
    with pytest.raises(TypeError, match=r"a dict of 'out' \(1, 2\), 'aux' \(1, 2\), and several could be"):
        answers({"out": torch.ones(1, 2), "aux": torch.ones(1, 2)}, [0])
    assert answers({"out": torch.ones(1, 2)}, [lambda outputs: outputs["out"].sum(1)]).tolist() == [2.0]


class Segmenter(nn.Module):
    """Gives a dictionary with one map of scores per class."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.ReLU())
        self.scores = nn.Conv2d(4, 2, 1)

    def forward(self, batch):
        return {"out": self.scores(self.features(batch))}


def upper_half(outputs):
    return outputs["out"][:, 1, :2].sum((1, 2))


def test_a_callable_is_explained_from_source_to_map():
    model, inputs = Segmenter().eval(), torch.rand(3, 16, 16)
    found = usu.explain(model, inputs, upper_half, **OPTIONS)
    assert found.target == "upper_half"
    assert found.probability is None
    with torch.no_grad():
        whole = float(upper_half(model(inputs[None])))
        masked = inputs.clone()
        masked[:, :8, :8] = 0
        expected = whole - float(upper_half(model(masked[None])))
    by_zero = usu.explain(model, inputs, upper_half, baselines="zeros", **OPTIONS)
    assert float(by_zero.raw_scores[0][0]) == pytest.approx(expected, abs=1e-5)


def test_names_and_callables_in_one_batch():
    model, inputs = small_cnn(), torch.rand(3, 3, 16, 16)
    classes = ["ant", "bee", "cat", "dog", "emu"]
    found = usu.explain(model, inputs, ["bee", 4, first], class_names=classes, **OPTIONS)
    assert [one.target for one in found] == [1, 4, "first"]
    for image, target in enumerate((1, 4, first)):
        one = usu.explain(model, inputs[image], target, **OPTIONS)
        assert torch.allclose(one.raw_scores[0], found[image].raw_scores[0], atol=1e-6)
        assert torch.allclose(one.coarse, found[image].coarse, atol=1e-5)


def test_the_name_of_a_callable():
    def inner(outputs):
        return outputs[:, 0]

    assert name_of(inner) == "test_the_name_of_a_callable.inner"
    assert name_of(nn.Identity()) == "Identity"
    assert name_of(3) == 3


def test_a_callable_that_cannot_be_hashed_is_a_target_too():
    @dataclass
    class Column:
        number: int
        calls: int = 0

        def __call__(self, outputs):
            self.calls += 1
            return outputs[:, self.number]

    column, other = Column(0), Column(1)
    outputs = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 9.0], [0.0, 4.0]])
    assert answers(outputs, [column, other, column, 1]).tolist() == [1.0, 5.0, 7.0, 4.0]
    assert (column.calls, other.calls) == (1, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_of_16_bits_are_taken_in_float32(dtype):
    outputs = torch.tensor([[1.0, 2.0, 0.5]], dtype=dtype)
    assert probabilities(outputs, [1]) == [outputs.float().softmax(1)[0, 1].item()]
