"""What `import usu` loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import usu

SOURCE = Path(usu.__file__).parent
HEAVY = {"captum", "lime", "matplotlib", "numba", "pytorch_grad_cam", "quantus", "ray", "shap", "skimage"}
HEAVY |= {"scipy", "sklearn", "timm", "torch", "torchcam"}


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_usu_loads_no_optional_library():
    loaded = loaded_after("import usu, usu.cli")
    assert "usu" in loaded
    assert loaded.isdisjoint(HEAVY)
