"""What `import usu`, the names of its packages, and the help of the command line load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import usu
from usu.bench.datasets.registry import DATASETS
from usu.bench.engines.registry import ENGINES
from usu.bench.tables.registry import FORMATS, LAYOUTS
from usu.operators.registry import UPSAMPLERS
from usu.reproduce.experiments import EXPERIMENTS
from usu.runtime.lazy import Registry

HEAVY = {"captum", "lime", "matplotlib", "numba", "pytorch_grad_cam", "quantus", "ray", "shap", "skimage"}
HEAVY |= {"scipy", "sklearn", "timm", "torch", "torchcam", "torchvision"}
HEAVY |= {"PIL", "higra", "numpy", "pandas", "pyarrow", "tqdm"}
HELP = """
import contextlib, io, sys, usu.cli
told = io.StringIO()
with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
    usu.cli.main(sys.argv[1:])
assert told.getvalue().startswith("usu") or "usage: usu" in told.getvalue()
"""


def loaded_after(program: str, *arguments: str) -> set[str]:
    program += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "names", ["usu, usu.cli", "usu.models, usu.operators.registry", "usu.sources, usu.bench.tables.registry"]
)
def test_names_load_no_library(names):
    loaded = loaded_after(f"import {names}")
    assert "usu" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        *("--help", "--version", "demo --help", "explain --help", "check --help", "report --help"),
        *(
            "reproduce --help",
            "bench --help",
            "bench run --help",
            "bench status --help",
            "bench table --help",
        ),
    ],
)
def test_help_loads_no_library(arguments):
    loaded = loaded_after(HELP, *arguments.split())
    assert "argparse" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("registry", [DATASETS, ENGINES, EXPERIMENTS, FORMATS, LAYOUTS, UPSAMPLERS])
def test_every_name_stands_for_something(registry):
    found = [registry[name] for name in registry]
    assert all(callable(one) or callable(one.upsample) for one in found)
    assert len(found) == len(registry) > 1


def test_public_names_and_no_others():
    for name in usu.__all__:
        assert getattr(usu, name) is getattr(usu, name)
    assert {*usu.__all__, "__version__"} <= set(dir(usu))
    assert not [name for name in dir(usu) if "." in name]
    assert usu.plot.__name__ == "usu.plot"
    for package in (usu, usu.sources, usu.models):
        assert set(package.__all__) <= set(dir(package))
        with pytest.raises(AttributeError, match=f"No {package.__name__} attribute upsampel"):
            package.upsampel  # noqa: B018


def test_a_registry_is_a_mapping_that_imports_nothing_until_it_must():
    registry = Registry({"root": "math:sqrt", "broken": "no_such_module:name"})
    assert "broken" in registry
    assert "other" not in registry
    assert (list(registry), len(registry)) == (["root", "broken"], 2)
    assert registry["root"](9) == 3
    assert registry.get("other") is None
    assert "no_such_module:name" in repr(registry)
    with pytest.raises(ModuleNotFoundError):
        registry["broken"]
    with pytest.raises(TypeError):
        registry["root"] = "math:exp"


def test_explaining_a_photograph_loads_no_torchvision():
    """It takes as long to import as torch; a merge once brought it back."""
    program = "import sys, usu.models.images, usu.models.loading; from usu.cli.explain import run"
    program += "; usu.models.loading.load_classifier('efficientnet-lite0')"
    program += "; import usu.pipeline, usu.plot, usu.report, usu.sources.gradcam"
    assert loaded_after(program).isdisjoint({"torchvision", "pytorch_grad_cam", "sympy"})
