"""What `import usu` loads, and which way the modules depend on each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import usu

SOURCE = Path(usu.__file__).parent
HEAVY = {"captum", "lime", "matplotlib", "numba", "pytorch_grad_cam", "quantus", "ray", "shap", "skimage"}
HEAVY |= {"scipy", "sklearn", "timm", "torchcam"}

# The way data flows: each module may use those before it, and nothing else of the package.
FLOW = (
    "arrays",
    "files",
    "placement",
    "lattice",
    "potentials",
    "operators",
    "masses",
    "interpolation",
    "upsamplers",
    "segmentation",
    "fill",
    "targets",
    "layers",
    "perturbation",
    "masking",
    "refinement",
    "trees",
    "owen",
    "coalitions",
    "scoring",
    "settings",
    "sources",
    "complete",
    "explanation",
    "pipeline",
)


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_usu_loads_no_optional_library():
    loaded = loaded_after("import usu, usu.cli")
    assert "usu" in loaded
    assert loaded.isdisjoint(HEAVY)


def imports_of(module: str) -> set[str]:
    """Return the modules of the package that a file imports, also inside functions."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this test"
            # `from usu import plot` names a module too.
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    parts = [name.split(".") for name in names]
    return {name[1] for name in parts if name[0] == "usu" and len(name) > 1}


@pytest.mark.parametrize("module", FLOW)
def test_flow_modules_import_only_those_above(module):
    # An explanation shows itself: the report is imported when it is asked for.
    shown = {"report"} if module == "explanation" else set()
    assert imports_of(module) <= set(FLOW[: FLOW.index(module)]) | shown


def test_imports_are_seen_at_all():
    assert {"segmentation", "perturbation", "refinement", "operators"} <= imports_of("pipeline")
