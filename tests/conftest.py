"""What all tests share: a deterministic Hypothesis profile and the devices to run on."""

import gc
import os

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.helpers.browser import CHROMIUM, FLAGS
from usu.runtime.memory import keep_freed_memory

# shap's inner loops, interpreted, give the same; compiled they would cost each worker ten seconds.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
# Arrays are small: more threads only spin, which makes a busy machine several times slower. For subprocesses:
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "usu",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("usu")
torch.set_num_threads(1)
keep_freed_memory()


def pytest_xdist_auto_num_workers():
    """Have one worker more than processors: some tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no cycles while thousands of tests are collected, which stay: a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.fixture(params=DEVICES, scope="session")
def device(request):
    """Give each device in turn; session scope lets Hypothesis tests use it."""
    return torch.device(request.param)


@pytest.fixture(scope="module")
def browser():
    """Start Chromium; for a module, since playwright keeps an event loop running that other tests may not."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def young():
    """Show the garbage collector only what the test makes, not all that was ever imported."""
    gc.freeze()
