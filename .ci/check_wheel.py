"""Check that the wheel given as argument holds the whole package and nothing else."""

import sys
from pathlib import Path
from zipfile import ZipFile

SOURCE = Path(__file__).parents[1] / "src"
files = {path for path in (SOURCE / "usu").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
wanted = {path.relative_to(SOURCE).as_posix() for path in files}
found = set(ZipFile(sys.argv[1]).namelist())
strange = {name for name in found - wanted if not name.split("/")[0].endswith(".dist-info")}
essential = {"usu/py.typed", "usu/report/web/page.html"}  # were they moved, this list would have to follow
missing = (wanted | essential) - found
licences = [name for name in found if name.endswith(".dist-info/licenses/LICENSE")]
if missing or strange or len(licences) != 1:
    sys.exit(f"wheel: missing {sorted(missing)}, not of the package {sorted(strange)}, licences {licences}")
print(f"wheel: {len(found)} files, {sum(not name.endswith('.py') for name in wanted)} of them data: complete")
