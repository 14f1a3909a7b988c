"""The examples in the docstrings, of the package as it is installed."""

import doctest
import importlib
import pkgutil

import pytest

import usu

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(usu.__path__, "usu.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    if name == "usu.adapters.torchcam":
        pytest.importorskip("torchcam", reason="torch-cam needs Python 3.11")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert results.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "usu.operators.redistribution",
        "usu.operators.interpolation",
        "usu.scoring.registry",
        "usu.segmentation.methods",
    ],
)
def test_the_public_verbs_have_examples(name):
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert any(test.examples for test in finder.find(importlib.import_module(name)))
