"""Which scoring is taken where none is named: by order, or by masking for what has no gradients."""

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import small_cnn

IMAGE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
FEW = {"segmentation": {"quadtree": (4, 16)}}
COARSE = torch.tensor([[1.0, 2.0], [0.5, -1.0]])


class Stepped(torch.autograd.Function):
    """Rounding, without a derivative."""

    @staticmethod
    def forward(context, values):
        return values.round(decimals=3)


class Ending(nn.Module):
    """A small network whose outputs go through something."""

    def __init__(self, end):
        super().__init__()
        self.network, self.end = small_cnn(), end

    def forward(self, batch):
        return self.end(self.network(batch))


def asked(model, inputs=IMAGE, **options):
    return usu.upsample(COARSE, inputs, model, 2, images=IMAGE, **{**FEW, **options})


def test_order_where_there_are_gradients_as_if_it_were_named():
    model = small_cnn()
    found, named = asked(model), asked(model, scoring="order")
    assert found.settings["scoring"] == "order"
    assert torch.equal(found.attribution, named.attribution)
    assert found.forward_passes == named.forward_passes + 3  # whether there is a gradient was tried
    assert usu.explain(model, IMAGE, 2, **FEW).settings["scoring"] == "order"


def test_passes_without_a_scoring_are_those_of_the_order():
    found = asked(small_cnn(), passes=20)
    assert (found.settings["scoring"], found.settings["passes"]) == ("order", 20)


@pytest.mark.parametrize(
    "end",
    [torch.Tensor.detach, Stepped.apply, lambda values: values + (values - values).sqrt()],
    ids=["no graph", "no derivative", "not finite"],
)
def test_masking_for_a_module_without_useful_gradients(end):
    model = Ending(end).eval()
    found, named = asked(model), asked(model, scoring="mask")
    assert found.settings["scoring"] == "mask"
    assert torch.equal(found.attribution, named.attribution)


def test_masking_for_black_boxes_which_nothing_is_tried_on():
    def model(batch):
        with torch.no_grad():
            return small_cnn()(torch.as_tensor(batch)).numpy()

    found, named = asked(model, IMAGE.numpy()), asked(model, IMAGE.numpy(), scoring="mask")
    assert found.settings["scoring"] == "mask"
    assert found.forward_passes == named.forward_passes
    np.testing.assert_array_equal(found.attribution, named.attribution)


def test_masking_for_integers():
    def model(batch):
        return small_cnn()(batch.float() / 255)

    assert asked(model, (255 * IMAGE).to(torch.uint8)).settings["scoring"] == "mask"


def test_masking_where_gradients_are_forbidden():
    model = small_cnn()
    with torch.inference_mode():
        found = asked(model)
    assert found.settings["scoring"] == "mask"


def test_masking_where_rules_of_refinement_are_given():
    for rules in ({"mixing": "segment"}, {"rules": usu.Rules(threshold=0.5)}):
        found, named = asked(small_cnn(), **rules), asked(small_cnn(), scoring="mask", **rules)
        assert found.settings["scoring"] == "mask"
        assert found.forward_passes == named.forward_passes  # no gradient was tried


def test_an_error_of_the_model_is_not_taken_for_a_missing_gradient():
    calls = []

    def failing(values):
        calls.append(1)
        if len(calls) == 2:  # the first is the answer, the second asks for its gradient
            raise RuntimeError("out of luck")
        return values

    with pytest.raises(RuntimeError, match="out of luck"):
        asked(Ending(failing).eval())


def test_small_pictures_get_fewer_segments_unless_they_are_asked_for():
    small = IMAGE[:, :8, :12]
    found = usu.upsample(COARSE, small, small_cnn(), 2, images=small)
    assert max(int(labels.max()) + 1 for labels in found.partitions) <= 8 * 12 // 4
    with pytest.raises(ValueError, match="256 segments, but the image has 96 pixels"):
        usu.upsample(COARSE, small, small_cnn(), 2, images=small, segmentation={"slic": (256,)})
