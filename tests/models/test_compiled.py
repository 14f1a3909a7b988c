"""The quick copy of a network: the same answers, the model left as it is, and none where it would err."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.models.compiled import Compiled, quickened


@pytest.mark.parametrize("make", [small_cnn, SmallViT])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_answers_are_the_models(make, count):  # of a transformer too
    model = make().eval()
    before = fingerprint(model)
    batch = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    quick = quickened(model, batch[0])
    with torch.no_grad():
        assert torch.allclose(quick(batch), model(batch), atol=1e-5)
    assert fingerprint(model) == before


def test_a_convolutional_network_is_compiled():
    assert isinstance(quickened(small_cnn(), torch.rand(3, 16, 16)), Compiled)


def test_processes_do_not_wait_for_the_same_core():
    compiled = quickened(small_cnn(), torch.rand(3, 16, 16))
    assert compiled.compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.compiled.get_property("INFERENCE_NUM_THREADS") == torch.get_num_threads()


def test_nobody_is_told_that_openvino_runs():
    program = (
        "import sys; from usu.models.compiled import _openvino; _openvino()\n"
        "assert 'openvino.tools.ovc' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
        "assert 'openvino.tools.ovc.telemetry_stub' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Moody(nn.Module):
    """Answers by what it sees: a trace follows one of its ways only."""

    def forward(self, batch):
        means = batch.mean((1, 2, 3))
        return torch.stack([means, -means], 1) if len(batch) > 1 else torch.ones(1, 2)


def test_a_network_that_cannot_be_traced_runs_as_it_is():
    model = Moody().eval()
    assert quickened(model, torch.rand(3, 8, 8)) is model
