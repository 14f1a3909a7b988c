"""Training on drawn scenes: the loss by hand, the cache, and that the penalty does what it is for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import log_softmax

from usu.worlds import cache as cache_module
from usu.worlds import penalties, training
from usu.worlds.cache import cache_file, cache_folder
from usu.worlds.gradients import attribution
from usu.worlds.networks import NETWORKS
from usu.worlds.training import Recipe, Stage, measure, trained

TINY = Recipe(plain=(Stage(12, 8),), penalised=(Stage(30, 8),))
OPTIONS = {"count": 36, "size": 32, "recipe": TINY}


def test_networks_are_the_papers():
    sizes = {
        "cnn": [(16, 1, 5, 5), (32, 16, 5, 5), (64, 32, 5, 5), (128, 1024), (3, 128)],
        "mlp": [(256, 50176), (64, 256), (3, 64)],
    }
    for name, expected in sizes.items():
        model = NETWORKS[name](3, 224)
        assert [tuple(weight.shape) for weight in model.parameters() if weight.dim() > 1] == expected
        assert model(torch.zeros(2, 1, 224, 224)).shape == (2, 3)
    vit = NETWORKS["vit"](5, 224)
    assert vit(torch.zeros(2, 1, 224, 224)).shape == (2, 5)
    assert len(vit.positions[0]) == 14 * 14


def test_attention_is_torchs_own():
    """The written-out attention of the transformer, with its weights in torch's module."""
    torch.manual_seed(0)
    block = NETWORKS["vit"](3, 64).blocks[0]
    reference = nn.MultiheadAttention(64, 4, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.projections.weight,
            "in_proj_bias": block.projections.bias,
            "out_proj.weight": block.joined.weight,
            "out_proj.bias": block.joined.bias,
        }
    )
    tokens = torch.randn(2, 16, 64)
    normed = block.attention_norm(tokens)
    mixed = tokens + reference(normed, normed, normed, need_weights=False)[0]
    assert torch.allclose(block(tokens), mixed + block.mlp(mixed), atol=1e-5)


def test_loss_is_equation_22_by_hand():
    """A linear network: its gradient is its weights, so the penalty can be written down."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    model[1].load_state_dict(
        {"weight": torch.tensor([[1.0, -2, 3, 0], [0, 1, 0, 5]]), "bias": torch.zeros(2)}
    )
    inputs = torch.tensor([[[[1.0, 0], [0, 2]]], [[[0.0, 1], [1, 0]]]], dtype=torch.float64)
    truth = torch.tensor([[[1.0, 0], [0, 1]], [[0.0, 1], [1, 1]]], dtype=torch.float64)
    targets = torch.tensor([0, 1])
    loss, inside = training.loss_of(model, (inputs, truth, targets), 0.1)
    logits = torch.tensor([[1.0, 10], [1.0, 1]], dtype=torch.float64)
    entropy = -(log_softmax(logits, 1)[0, 0] + log_softmax(logits, 1)[1, 1]) / 2
    # Image 1, class 0: outside are the weights -2 and 3. Image 2, class 1: outside is the weight 0.
    assert float(loss.detach()) == pytest.approx(float(entropy) + 0.1 * (4 + 9 + 0) / 2)
    assert inside == pytest.approx((1 / 6 + 6 / 6) / 2)
    loss.backward()
    assert float(model[1].weight.grad[0, 1]) == pytest.approx(  # CE's share, and 0.1 · 2w / 2 of the penalty
        float(torch.softmax(logits, 1)[1, 0]) * 1 / 2 + 0.1 * -2
    )


def test_training_learns_and_the_penalty_moves_gradients_inside(tmp_path):
    recipe = Recipe((Stage(40, 16, learning_rate=3e-3),), (Stage(80, 16, learning_rate=3e-3),))
    options = {"count": 120, "size": 32, "recipe": recipe, "cache": tmp_path}
    plain, penalised = trained("mlp", **options), trained("mlp", 300.0, **options)
    assert plain.test.accuracy > 0.8
    assert plain.before == plain.test
    assert penalised.before == plain.test
    assert penalised.test.inside > plain.test.inside + 0.15
    assert penalised.test.accuracy > 0.6
    assert not penalised.model.training
    assert "λ = 300: accuracy" in str(penalised)


def test_quality_is_measured_scene_by_scene(tmp_path):
    network = trained("vit", cache=tmp_path, **OPTIONS)
    scenes = training.parts_of(network.settings).test
    right, shares = 0, []
    for scene in scenes:
        with torch.no_grad():
            right += int(network.model(scene.inputs[None]).argmax()) == scene.target
        pixels = attribution(network.model, scene.inputs, scene.target)
        shares.append(float((pixels * scene.truth).sum() / pixels.sum()))
    assert network.test.accuracy == pytest.approx(right / len(scenes))
    assert network.test.inside == pytest.approx(sum(shares) / len(shares), abs=1e-5)
    assert measure(network.model, scenes) == network.test


def weights_of(network):
    return torch.cat([parameter.flatten() for parameter in network.model.parameters()])


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_training_is_deterministic_and_leaves_the_random_numbers_alone(name, tmp_path):
    recipe = Recipe((Stage(3, 4), Stage(2, 4, every=2)) if name == "cnn" else (Stage(3, 4),), (Stage(3, 4),))
    options = {**OPTIONS, "recipe": recipe}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = trained(name, 1.0, cache=tmp_path / "a", **options)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights_of(first), weights_of(trained(name, 1.0, cache=tmp_path / "b", **options)))
    other = trained(name, 1.0, cache=tmp_path / "c", seed=1, **options)
    assert not torch.equal(weights_of(first), weights_of(other))


def test_other_devices_are_not_seeded(monkeypatch, tmp_path):
    def refuse(_):
        raise AssertionError("another device was seeded")

    for device in (torch.cuda, torch.mps, torch.xpu):
        for name in ("manual_seed", "manual_seed_all"):
            if hasattr(device, name):
                monkeypatch.setattr(device, name, refuse)
    trained("mlp", 1.0, cache=tmp_path, **OPTIONS)


def test_a_second_run_trains_nothing(tmp_path, monkeypatch):
    first = trained("mlp", 1.0, cache=tmp_path, **OPTIONS)
    assert len(list(tmp_path.iterdir())) == 2  # the plain network and the penalised one
    monkeypatch.setattr(training, "_train", None)
    again = trained("mlp", 1.0, cache=tmp_path, **OPTIONS)
    assert torch.equal(weights_of(first), weights_of(again))
    assert (again.test, again.validation, again.before, again.seconds) == (
        first.test,
        first.validation,
        first.before,
        first.seconds,
    )
    assert again.settings == first.settings


@pytest.mark.parametrize("damage", ["truncated", "other weights", "no facts"])
def test_a_damaged_file_is_trained_again_with_a_warning(damage, tmp_path):
    first = trained("mlp", cache=tmp_path, **OPTIONS)
    (path,) = tmp_path.iterdir()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        facts = {"facts": np.array("{}")} if damage == "other weights" else {}
        np.savez(path, a=np.zeros(1), **facts)
    with pytest.warns(UserWarning, match=r"is damaged and is made again"):
        again = trained("mlp", cache=tmp_path, **OPTIONS)
    assert torch.equal(weights_of(first), weights_of(again))
    trained("mlp", cache=tmp_path, **OPTIONS)  # whole again: pytest would make a warning an error


def test_weights_that_cannot_be_kept_are_still_returned(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.warns(UserWarning, match=r"mlp-\w+\.npz is not kept: "):
        assert trained("mlp", cache=blocked, **OPTIONS).test.accuracy >= 0


def test_every_setting_has_a_file_of_its_own(tmp_path):
    settings = training.TrainingSettings("mlp", 0.1, "shapes", 36, 0, 32, TINY)
    changed = [
        settings,
        *(
            dataclasses.replace(settings, **{field: value})
            for field, value in [
                ("penalty", 0.2),
                ("world", "patterns"),
                ("count", 37),
                ("seed", 1),
                ("size", 33),
            ]
        ),
        dataclasses.replace(settings, recipe=dataclasses.replace(TINY, penalised=(Stage(30, 9),))),
    ]
    files = {cache_file("mlp", dataclasses.asdict(one), tmp_path) for one in changed}
    assert len(files) == len(changed)


def test_cache_folder_follows_the_systems_custom(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "usu"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache_module.Path, "home", lambda: tmp_path)
    for platform, expected in [("linux", ".cache/usu"), ("darwin", "Library/Caches/usu")]:
        monkeypatch.setattr(cache_module.sys, "platform", platform)
        assert cache_folder() == tmp_path / expected
    monkeypatch.setattr(cache_module.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "usu"


def test_patterns_can_be_trained_on(tmp_path):
    network = trained("cnn", world="patterns", cache=tmp_path, count=25, size=32, recipe=TINY)
    assert network.model(torch.zeros(1, 1, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn",), "name must be one of"),
        (("cnn", -1.0), "penalty must be at least 0"),
        (("cnn", float("nan")), "penalty must be finite"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        trained(*arguments, cache=tmp_path)
    with pytest.raises(ValueError, match="world must be one of"):
        trained("cnn", world="cats", cache=tmp_path)


# The search for λ, on qualities made up so that each branch is met.


def searched(monkeypatch, outcomes):
    asked = []

    def fake(name, penalty, **options):
        asked.append(penalty)
        quality = training.Quality(*outcomes[len(asked) - 1])
        settings = training.TrainingSettings(name, penalty, "shapes", 36, 0, 32, TINY)
        return training.TrainedNetwork(nn.Identity(), quality, quality, quality, settings, 0.0)

    monkeypatch.setattr(penalties, "trained", fake)
    return penalties.find_penalty("cnn").settings.penalty, asked


def test_search_stops_at_the_first_penalty_that_does(monkeypatch):
    assert searched(monkeypatch, [(1, 0.5), (1, 0.94), (0.96, 0.95), (1, 1)]) == (100.0, [1.0, 10.0, 100.0])


def test_search_prefers_accuracy_where_no_penalty_does(monkeypatch):
    outcomes = [(1, 0.5), (0.95, 0.9), (0.94, 0.99), (0.3, 1.0), (0.3, 0.0)]
    assert searched(monkeypatch, outcomes)[0] == 10.0
