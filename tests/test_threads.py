"""Threads and processes: the same maps as alone, to the bit, and the model as it was."""

import multiprocessing
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.metrics import Judge
from usu.models.alone import alone
from usu.runtime.random import numpy_seeded
from usu.runtime.silence import kept_filters

OPTIONS = {"segmentation": {"quadtree": (4, 8)}, "backend": "eager"}
THREADS = 8


def pictures(count=THREADS):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def often():
    """Threads that take turns every 10 μs, in place of every 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(calls):
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


SCORED = {
    "mask": {"scoring": "mask"},
    "owen": {"scoring": "owen", "passes": 8},
    "order": {"scoring": "order", "passes": 14},
}


@pytest.mark.parametrize("scoring", SCORED)
@pytest.mark.parametrize("make", [small_cnn, lambda: SmallViT().eval()], ids=["convolutions", "transformer"])
def test_eight_threads_explain_by_one_model(make, scoring, often):
    model = make()
    before, options = fingerprint(model), {**OPTIONS, **SCORED[scoring]}
    calls = [partial(usu.explain, model, one, n % 5, **options) for n, one in enumerate(pictures())]
    expected = [call() for call in calls]
    for found, own in zip(together(2 * calls), 2 * expected, strict=True):
        assert torch.equal(found.attribution, own.attribution)
        assert torch.equal(found.coarse, own.coarse)
    assert fingerprint(model) == before


def test_threads_that_do_different_things_with_one_model(often):
    """A pass of one thread must not run into the hooks of another."""
    model = SmallViT().eval()
    before, (one, *_) = fingerprint(model), pictures()
    segments = np.arange(256).reshape(16, 16) // 64
    judge = partial(Judge(model, one, 1).score, torch.rand(16, 16), "pixel-flipping")
    calls = [
        partial(usu.explain, model, one, 2, **OPTIONS),
        partial(usu.explain, nn.Sequential(model).eval(), one, 2, **OPTIONS),
        partial(usu.score_segments, model, one, segments, 2),
        partial(usu.refine, model, one, usu.Hierarchy([segments]), 2),
        partial(usu.upsample, torch.ones(4, 4), one, model, 2, scoring="order", passes=14, **OPTIONS),
        judge,
    ]
    expected = [plain(call()) for call in calls]
    for found, own in zip(together(3 * calls), 3 * expected, strict=True):
        assert np.array_equal(plain(found), own)
    assert fingerprint(model) == before


def plain(result):
    if isinstance(result, dict):
        return np.array(list(result.values()))
    values = getattr(result, "attribution", getattr(result, "score_map", getattr(result, "raw_scores", None)))
    return np.asarray(values)


def test_a_thread_that_fails_leaves_the_model_to_the_others():
    model, (one, *_) = small_cnn(), pictures()
    with pytest.raises(ValueError, match="target"):
        together([partial(usu.explain, model, one, 99, **OPTIONS)])
    assert together([partial(usu.explain, model, one, 2, **OPTIONS)])[0].target == 2


def test_models_of_their_own_do_not_wait_for_each_other():
    first, second = small_cnn(), small_cnn()
    with alone(first), ThreadPoolExecutor(1) as pool:
        assert pool.submit(usu.explain, second, pictures()[0], 2, **OPTIONS).result(60).target == 2


def test_seeds_and_filters_of_the_process_survive_threads(often):
    np.random.seed(11)  # noqa: NPY002
    state, filters = np.random.get_state()[1].copy(), list(warnings.filters)  # noqa: NPY002

    def draw(seed):
        with numpy_seeded(seed), kept_filters():
            warnings.simplefilter("ignore")
            return np.random.random(50).tolist()  # noqa: NPY002

    expected = [draw(seed) for seed in range(THREADS)]
    assert together([partial(draw, seed) for seed in range(THREADS)] * 5) == expected * 5
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert warnings.filters == filters


def explained(number):
    return usu.explain(small_cnn(), pictures()[number], 2, **OPTIONS).attribution.numpy()


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_other_processes_make_the_same_maps(way):
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {way}")
    expected = [explained(0), explained(1)]
    with ProcessPoolExecutor(2, multiprocessing.get_context(way)) as pool:
        for found, own in zip(pool.map(explained, [0, 1]), expected, strict=True):
            assert np.array_equal(found, own)


class Explained(Dataset):
    """Maps as the items of a data set, made by the loader's workers."""

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return explained(number)


LOADED = """
import numpy as np, torch
from torch.utils.data import DataLoader
from tests.test_threads import Explained, explained

found = torch.cat(list(DataLoader(Explained(), batch_size=2, num_workers=2)))
print(torch.equal(found, torch.from_numpy(np.stack([explained(number) for number in range(4)]))))
"""


def test_a_loaders_workers_make_the_same_maps():
    """In a process of its own: a loader answers signals, which are the whole process's."""
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", LOADED], cwd=root, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("True\n", 0), found.stderr
