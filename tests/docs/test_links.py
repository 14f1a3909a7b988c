"""Every Python block of every page runs, in order and in one namespace per page.

Weights that a block would download are random ones here, and `photo.jpg` is scikit-image's cup of coffee.
"""

import re
import textwrap
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image
from torchvision.models import WeightsEnum, get_model

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Return the page's blocks, each behind as many newlines as stand before it, so that tracebacks fit."""
    text = page.read_text(encoding="utf-8")
    return [
        "\n" * text.count("\n", 0, match.start("code")) + textwrap.dedent(match["code"])
        for match in BLOCK.finditer(text)
    ]


def random_weights(entry, **settings):
    torch.manual_seed(0)
    return get_model(type(entry).__name__.removesuffix("_Weights").lower()).state_dict()


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", random_weights)
    Image.fromarray(skimage.data.coffee()).save("photo.jpg")
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace = {"__name__": page.stem}
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)


def test_the_first_page_shows_what_the_readme_does():
    (shown,) = re.findall(
        r"```py\n(.*?)```", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown == blocks(ROOT / "README.md")[0].lstrip("\n")
