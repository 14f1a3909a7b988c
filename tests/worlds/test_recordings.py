"""Made-up heartbeats and scans: what tells the classes apart lies on the truth, and nowhere else."""

import pytest
import torch

from usu.worlds.recordings import heartbeats, network, scans, trained


@pytest.mark.parametrize("draw", [heartbeats, scans])
def test_every_other_recording_has_a_truth(draw):
    found, again = draw(6, seed=3), draw(6, seed=3)
    assert torch.equal(found.inputs, again.inputs)
    assert not torch.equal(found.inputs, draw(6, seed=4).inputs)
    assert found.classes.tolist() == [0, 1] * 3
    assert found.truth.flatten(1).any(1).tolist() == [False, True] * 3
    assert found.truth.shape[1:] == found.inputs.shape[2:]
    assert 0.003 < float(found.truth[1::2].double().mean()) < 0.2


def test_a_lesion_is_as_bright_as_vessels_and_a_broad_beat_as_high_as_others():
    volumes, signals = scans(4), heartbeats(4)
    for inputs, truth in zip(volumes.inputs[1::2], volumes.truth[1::2], strict=True):
        assert float(inputs[0][truth].mean()) < float(inputs[0][~truth].max())
    for inputs, truth in zip(signals.inputs[1::2], signals.truth[1::2], strict=True):
        assert abs(float(inputs[0][truth].max()) - float(inputs[0][~truth].max())) < 0.4


def test_training_leaves_the_generator_and_gives_the_same_network_for_a_seed():
    found = heartbeats(8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = trained(found, steps=2), trained(found, steps=2)
    assert torch.equal(torch.rand(1), expected)
    assert not first.training
    assert torch.equal(first(found.inputs), second(found.inputs))
    cells = network(3, 1)[:6](scans(1).inputs)
    assert cells.shape[2:] == (3, 4, 4)
