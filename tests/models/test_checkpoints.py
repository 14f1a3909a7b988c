"""Weights as training scripts leave them: wrapped, with prefixes, with an optimiser beside them."""

import argparse
from types import SimpleNamespace

import pytest
import torch
import torchvision.models as zoo
from torch import nn

from usu.models.checkpoints import own_part, read_state
from usu.models.loading import load_classifier

NAME = "shufflenet_v2_x0_5"
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(classes=4):
    torch.manual_seed(1)
    return zoo.get_model(NAME, weights=None, num_classes=classes).eval()


@pytest.fixture(scope="module")
def trained():
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    model(IMAGE).square().sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 3)
    with torch.no_grad():
        return SimpleNamespace(
            model=model, optimiser=optimiser.state_dict(), schedule=schedule.state_dict(), answer=model(IMAGE)
        )


class Lightning(nn.Module):
    """What trainers make: the network under a name of theirs, with a loss that has weights."""

    def __init__(self, name, model):
        super().__init__()
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(4))
        setattr(self, name, model)


def parallel(model):
    return nn.DataParallel(model)


def compiled(model):
    return torch.compile(model, backend="eager")


def inner_parallel(model):
    model.conv5 = nn.DataParallel(model.conv5)
    return model


WRAPPERS = {
    "plain": lambda model: model,
    "module": parallel,
    "_orig_mod": compiled,
    "module of _orig_mod": lambda model: parallel(compiled(model)),
    "_orig_mod of module": lambda model: compiled(parallel(model)),
    "a part in parallel": inner_parallel,
    "model": lambda model: Lightning("model", model),
    "net": lambda model: Lightning("net", model),
    "model of model": lambda model: Lightning("model", Lightning("model", model)),
    "net of _orig_mod": lambda model: Lightning("net", compiled(model)),
    "any name": lambda model: Lightning("student_network", parallel(model)),
    "averaged": torch.optim.swa_utils.AveragedModel,
}
FILES = {
    "bare": lambda state, run: state,
    "state_dict": lambda state, run: {"state_dict": state, "epoch": 3, "best_acc1": torch.tensor(61.5)},
    "model_state_dict": lambda state, run: {
        "epoch": 3,
        "model_state_dict": state,
        "optimizer_state_dict": run.optimiser,
        "loss": 0.25,
    },
    "net": lambda state, run: {"net": state, "acc": 93.1, "epoch": 3},
    "model": lambda state, run: {
        "model": state,
        "optimizer": run.optimiser,
        "lr_scheduler": run.schedule,
        "args": argparse.Namespace(lr=0.1, data="here"),
    },
    "nested": lambda state, run: {"checkpoint": {"model": {"state_dict": state}, "optimizer": run.optimiser}},
    "Lightning": lambda state, run: {
        "state_dict": state,
        "optimizer_states": [run.optimiser],
        "lr_schedulers": [run.schedule],
        "hyper_parameters": {"lr": 0.1, "size": (64, 64)},
        "pytorch-lightning_version": "2.5.0",
    },
}


def fresh(trained):
    model = network()
    model.load_state_dict(trained.model.state_dict())
    return model


CASES = [(wrapper, "model") for wrapper in WRAPPERS] + [("model of model", file) for file in FILES]


@pytest.mark.parametrize(("wrapper", "file"), [*CASES, ("plain", "bare"), ("averaged", "bare")])
def test_the_network_in_a_checkpoint_answers_as_it_did(trained, tmp_path, wrapper, file):
    state = WRAPPERS[wrapper](fresh(trained)).state_dict()
    torch.save(FILES[file](state, trained), tmp_path / "last.pt")
    loaded = load_classifier(NAME, tmp_path / "last.pt").model
    with torch.no_grad():
        assert torch.equal(loaded(IMAGE), trained.answer)


def test_timms_networks_too(tmp_path):
    timm = pytest.importorskip("timm")
    from usu.bench.networks import load_network

    model = timm.create_model("test_vit", num_classes=3).eval()
    torch.save({"state_dict": Lightning("net", model).state_dict()}, tmp_path / "vit.ckpt")
    loaded = load_network("timm:test_vit", tmp_path / "vit.ckpt").classifier.model
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(loaded(image), model(image))


def test_inceptions_second_head_is_found_below_a_prefix(tmp_path):
    model = zoo.googlenet(weights=None, aux_logits=True, init_weights=False, num_classes=4)
    torch.save({"net": parallel(model).state_dict()}, tmp_path / "googlenet.pth")
    loaded = load_classifier("googlenet", tmp_path / "googlenet.pth").model
    assert torch.equal(loaded.aux2.fc2.weight, model.aux2.fc2.weight)


@pytest.mark.parametrize(
    ("first", "second"), [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("student", "teacher")]
)
def test_two_networks_in_one_file_are_not_chosen_between(trained, tmp_path, first, second):
    state = trained.model.state_dict()
    torch.save({first: state, second: state}, tmp_path / "two.pth")
    with pytest.raises(
        ValueError, match=f"two.pth holds this network more than once, as '{first}' and '{second}': save"
    ):
        load_classifier(NAME, tmp_path / "two.pth")


def test_two_networks_in_one_module_are_named_too(trained, tmp_path):
    both = nn.ModuleDict({"net": fresh(trained), "ema_net": fresh(trained)})
    torch.save({"state_dict": both.state_dict()}, tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match=r"as 'state_dict\.ema_net' and 'state_dict\.net': save the one"):
        load_classifier(NAME, tmp_path / "two.ckpt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}},
            r"only 'epoch' \(int\), 'optimizer' \(dict\)",
        ),
        ([torch.zeros(3)], "only a list"),
        ({}, "only an empty dictionary"),
    ],
)
def test_a_file_without_weights_says_what_it_has(tmp_path, content, words):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(ValueError, match=rf"none\.pth holds no state dict.*{words}"):
        read_state(tmp_path / "none.pth")


class _OfTheUser:
    """A class that checkpoints of a user's own script may hold."""


def test_what_a_file_needs_that_is_not_loaded_is_named(trained, tmp_path):
    torch.save({"model": trained.model.state_dict(), "config": _OfTheUser()}, tmp_path / "own.pth")
    with pytest.raises(ValueError, match=r"run any code \(this one needs .*test_checkpoints\._OfTheUser"):
        load_classifier(NAME, tmp_path / "own.pth")


def test_another_networks_weights_say_what_differs(trained, tmp_path):
    state = {f"net.{name}": value for name, value in trained.model.state_dict().items()}
    state["net.fc.1.bias"], state["net.conv1.0.weight"] = state.pop("net.fc.bias"), torch.zeros(7)
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError,
        match=r"the weights of shufflenet_v2_x0_5: it lacks fc\.bias; it has fc\.1\.bias; of its shapes "
        r"conv1\.0\.weight is \(7,\), not \(24, 3, 3, 3\)",
    ):
        load_classifier(NAME, tmp_path / "other.pth")
    torch.save({"backbone.embed": torch.zeros(3), "head": torch.zeros(2)}, tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match=r"it lacks conv1\.0\.weight, .* and \d+ more; it has backbone\.em"):
        load_classifier(NAME, tmp_path / "foreign.pth")


def test_a_prefix_that_only_looks_like_one_is_kept(tmp_path):
    """Names that the network itself gives its parts are no wrappers."""
    model = nn.Sequential()
    model.add_module("model", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    model.add_module("net", nn.Linear(2, 2))
    state = model.state_dict()
    assert own_part(dict(state), model, tmp_path) == dict(state)
