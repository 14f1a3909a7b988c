"""What a model's output says: the scores in it, of whatever kind, and whether they are probabilities."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.metrics import Judge
from usu.models.outputs import kind_of, scores_of
from usu.plot import overlay_figure

OPTIONS = {"segmentation": {"quadtree": (4,)}, "scoring": "mask", "baselines": "zeros"}
ROWS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])


def inputs():
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


class Ending(nn.Module):
    """A small network whose scores, made large, go through one more step."""

    def __init__(self, step, classes=5):
        super().__init__()
        self.inner, self.step = small_cnn(classes), step
        with torch.no_grad():
            self.inner[-1].weight *= 40

    def forward(self, batch):
        return self.step(self.inner(batch))


CONTAINERS = {
    "tensor": ROWS,
    "array": ROWS.numpy(),
    "record": SimpleNamespace(logits=ROWS, hidden_states=(torch.zeros(2, 4, 4),)),
    "matched with texts": SimpleNamespace(logits_per_image=ROWS, logits_per_text=ROWS.T),
    "mapping with logits": {"loss": torch.tensor(0.0), "features": torch.zeros(2, 7), "logits": ROWS},
    "mapping with one that fits": {"out": ROWS, "map": torch.zeros(2, 3, 8, 8)},
    "tuple with one that fits": (ROWS, torch.zeros(2, 5, 6)),
    "one by one pixel": ROWS[:, :, None, None],
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_scores_are_found(kind):
    assert torch.equal(scores_of(CONTAINERS[kind], 2), ROWS)


def test_missing_axes_are_filled_in():
    assert scores_of(torch.tensor(2.5), 1).tolist() == [[2.5]]
    assert scores_of(torch.tensor([2.5]), 1).tolist() == [[2.5]]
    assert scores_of(torch.tensor([2.5, 1.0]), 2).tolist() == [[2.5], [1.0]]
    assert scores_of(torch.tensor([2.5, 1.0]), 1).tolist() == [[2.5, 1.0]]  # of a single image
    assert scores_of(np.array([0.5, 1.0, 2.0]), 3).tolist() == [[0.5], [1.0], [2.0]]


@pytest.mark.parametrize(
    ("outputs", "error", "words"),
    [
        ((ROWS, ROWS), TypeError, r"a tuple of 0 \(2, 3\), 1 \(2, 3\), and several could be the scores"),
        ({"out": torch.zeros(2, 3, 8, 8)}, TypeError, r"a dict of 'out' \(2, 3, 8, 8\), and none is the"),
        (
            SimpleNamespace(logits=torch.zeros(2, 9, 4)),
            ValueError,
            r"be \(2, classes\), got \(2, 9, 4\)",
        ),
        (torch.zeros(3, 2), ValueError, r"must be \(2, classes\), got \(3, 2\)"),
        (torch.zeros(3), ValueError, r"must be \(2, classes\), got \(3,\)"),
        (ROWS / 0, ValueError, "NaN or infinite"),
        ([{"boxes": ROWS}], TypeError, "give a callable on the output as target"),
        ("cat", TypeError, "give a callable on the output as target"),
    ],
)
def test_outputs_without_scores_are_told_with_the_way_out(outputs, error, words):
    with pytest.raises(error, match=words) as caught:
        scores_of(outputs, 2)
    assert len(str(caught.value)) < 220


def test_probabilities_are_told_from_logits():
    shares = torch.tensor([[2.0, 0.0, 1.0], [0.0, 9.0, 3.0]]).softmax(1)
    assert kind_of(shares, None) == kind_of(shares.half().float(), False) == "given"
    assert kind_of(shares.bfloat16().float(), None) == "given"
    assert kind_of(ROWS, True) == "softmax"
    assert kind_of(torch.cat([shares, ROWS]), None) == "softmax"
    loose = torch.tensor([[0.9, 0.8]])
    assert [kind_of(loose, squashed) for squashed in (True, False, None)] == ["given", "softmax", None]


class WithLogits(nn.Module):
    """Wraps the scores of a network in the record, mapping or tuple that `wrap` makes of them."""

    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = small_cnn(), wrap

    def forward(self, batch):
        return self.wrap(self.inner(batch))


WRAPS = {
    "record": lambda scores: SimpleNamespace(logits=scores),
    "mapping": lambda scores: {"logits": scores},
    "tuple": lambda scores: (scores,),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("source", ["gradcam", "scorecam", "occlusion", "rise", "shap"])
def test_every_source_reads_such_outputs(wrap, source):
    model = WithLogits(WRAPS[wrap]).eval()
    before = fingerprint(model)
    found = usu.explain(model, inputs(), source=source, **OPTIONS)
    plain = usu.explain(model.inner, inputs(), source=source, **OPTIONS)
    assert found.target == plain.target
    assert found.probability == pytest.approx(plain.probability)
    torch.testing.assert_close(found.coarse, plain.coarse)
    torch.testing.assert_close(found.attribution, plain.attribution)
    assert found.layer == (plain.layer and f"inner.{plain.layer}")
    assert found.forward_passes == plain.forward_passes
    assert fingerprint(model) == before


# --- what the record says


def by_hand(model, image, read):
    """Return f_t of an image as it is, and with its upper left quarter replaced by 0."""
    masked = image.clone()
    masked[:, :8, :8] = 0
    with torch.no_grad():
        return read(model(image[None])).item(), read(model(masked[None])).item()


STATED = {
    "softmax": Ending(nn.Softmax(1)),
    "sigmoid": Ending(nn.Sigmoid()),
    "sigmoid as a function": Ending(torch.sigmoid),
    "two heads": Ending(lambda scores: torch.cat([scores[:, :2].sigmoid(), scores[:, 2:].sigmoid()], 1)),
    "mean of two": Ending(lambda scores: torch.stack([scores.sigmoid(), (scores / 2).sigmoid()]).mean(0)),
    "some of a softmax": Ending(lambda scores: scores.softmax(1)[:, 1:4]),
    "one sigmoid": Ending(nn.Sigmoid(), classes=1),
    "one sigmoid without its axis": Ending(lambda scores: scores.sigmoid().squeeze(), classes=1),
}


@pytest.mark.parametrize("ending", STATED)
def test_probabilities_are_recorded_as_the_model_says_them(ending):
    model = STATED[ending].eval()
    with torch.no_grad():
        target = int(scores_of(model(inputs()[None]), 1).argmax())
    whole, masked = by_hand(model, inputs(), lambda outputs: scores_of(outputs, 1)[0, target])
    assert 0.2 < whole < 0.9999
    found = usu.explain(model, inputs(), layer="inner.4", **OPTIONS)
    assert found.target == target
    assert found.probability == pytest.approx(whole, abs=1e-6)
    assert (found.answer, found.answer_unit) == (pytest.approx(whole, abs=1e-6), "probability")
    assert float(found.raw_scores[0][0]) == pytest.approx(whole - masked, abs=1e-6)
    assert abs(whole - masked) > 1e-3
    assert found.unit == "probability"  # Grad-CAM's cells share what the model returns


@pytest.mark.parametrize("model", ["softmax", "sigmoid", "logits"])
def test_a_complete_map_sums_in_the_unit_of_the_model(model):
    model, output = {**STATED, "logits": Ending(nn.Identity())}[model].eval(), "probability"
    if model.step.__class__ is nn.Identity:
        output, link = "sigmoid", torch.sigmoid
    else:
        link = nn.Identity()
    found = usu.explain(model, inputs(), 2, mode="complete", output=output, baselines="zeros", passes=20)
    with torch.no_grad():
        both = link(model(torch.stack([inputs(), torch.zeros(3, 16, 16)])))[:, 2].double()
    assert abs(float(both[0] - both[1])) > 1e-3
    assert float(found.attribution.double().sum()) == pytest.approx(float(both[0] - both[1]), abs=1e-6)
    assert found.unit == found.answer_unit == "probability"


def test_a_multi_label_head_is_scored_by_its_sigmoid():
    model = Ending(nn.Identity()).eval()
    whole, masked = by_hand(model, inputs(), lambda outputs: outputs[0, 3].sigmoid())
    found = usu.explain(model, inputs(), 3, output="sigmoid", **OPTIONS)
    assert found.probability == found.answer == pytest.approx(whole, abs=1e-6)
    assert float(found.raw_scores[0][0]) == pytest.approx(whole - masked, abs=1e-6)
    with torch.no_grad():
        assert abs(whole - float(model(inputs()[None]).softmax(1)[0, 3])) > 0.01
    assert f"probability {100 * whole:.1f} %" in overlay_figure(found).get_suptitle()


@pytest.mark.parametrize(("output", "read"), [("sigmoid", torch.sigmoid), ("probability", nn.Identity())])
def test_rise_asks_for_the_same_probability(output, read):
    from usu.sources.rise import Rise

    model = (Ending(nn.Identity()) if output == "sigmoid" else Ending(nn.Sigmoid())).eval()
    source = Rise(cells=2, masks=40)
    found = usu.explain(model, inputs(), 1, source=source, output=output, **OPTIONS)
    by_link = Rise(cells=2, masks=40, output=lambda outputs: read(outputs))(model, inputs()[None], [1], None)
    torch.testing.assert_close(found.coarse, by_link.values[0])
    assert found.unit == "probability"


def test_what_was_scored_is_named_where_it_is_no_probability():
    model = Ending(nn.Identity()).eval()
    with torch.no_grad():
        outputs = model(inputs()[None])[0]
    found = usu.explain(model, inputs(), 1, output="logit", **OPTIONS)
    assert (found.answer, found.answer_unit) == (pytest.approx(outputs[1].item(), abs=1e-5), "logits")
    assert found.probability == pytest.approx(outputs.softmax(0)[1].item())
    title = overlay_figure(found).get_suptitle()
    assert f"probability {100 * found.probability:.1f} %, logit {found.answer:.4g}" in title
    assert f"logit {found.answer:.4g}" in found.to_html()
    own = usu.explain(model, inputs(), lambda outputs: 2 * outputs[:, 1], **OPTIONS)
    assert (own.answer, own.answer_unit) == (pytest.approx(2 * found.answer), "units of the answer")
    assert f", answer {own.answer:.4g}  ·" in overlay_figure(own).get_suptitle()


def test_outputs_of_a_callable_that_may_be_probabilities_are_told():
    inner = Ending(torch.sigmoid).eval()

    def service(batch):
        return inner(torch.from_numpy(batch)).detach().numpy()

    coarse, image = np.ones((2, 2), dtype=np.float32), inputs().numpy()
    with pytest.warns(UserWarning, match="taken for probabilities.* if they are logits, pass output='softm"):
        found = usu.upsample(coarse, image, service, 2, **OPTIONS)
    assert found.probability == pytest.approx(float(service(image[None])[0, 2]))
    said = usu.upsample(coarse, image, service, 2, output="softmax", **OPTIONS)
    shares = torch.from_numpy(service(image[None])).softmax(1)
    assert said.probability == pytest.approx(float(shares[0, 2]))
    assert usu.upsample(coarse, image, service, 2, output="logit", **OPTIONS).probability is None


def test_a_compiled_model_is_not_watched_and_says_so():
    model = torch.compile(Ending(torch.sigmoid).eval(), backend="eager")
    coarse = torch.ones(2, 2)
    with pytest.warns(UserWarning, match="taken for probabilities"):
        found = usu.upsample(coarse, inputs(), model, 2, **OPTIONS)
    with torch.no_grad():
        assert found.probability == pytest.approx(float(model(inputs()[None])[0, 2]))


def test_metrics_read_the_same_probabilities():
    model = Ending(nn.Softmax(1)).eval()
    stated = Judge(model, inputs(), 2)
    with torch.no_grad():
        expected = float(model(inputs()[None])[0, 2])
    assert stated.whole().probabilities.tolist() == [pytest.approx(expected)]
