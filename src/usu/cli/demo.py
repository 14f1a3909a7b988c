"""`usu demo`: a bundled photograph, by a network that is really trained."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from usu.cli._output import FILES, OUT, Commands, writable_folder

if TYPE_CHECKING:
    from PIL import Image

    from usu.models.classifier import Classifier

_DETAILS = f"""\
Explain scikit-image's photograph of a cat with EfficientNet-Lite0 and Grad-CAM.

{FILES}
"""

_EXAMPLES = """\
examples:
  usu demo                  write to usu-demo/
  usu demo --out pictures   write to pictures/
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "demo", help="explain a bundled photograph", description=_DETAILS, epilog=_EXAMPLES
    )
    parser.add_argument("--out", metavar="DIR", default="usu-demo", help=OUT)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain scikit-image's photograph of a cat."""
    from usu.cli.explain import explain_picture

    folder = writable_folder(options.out)
    explain_picture(*demo_photograph(), folder, verdicts=True)
    return 0


def demo_photograph() -> tuple[Image.Image, Classifier]:
    """Return the photograph and the network of the demo."""
    from dataclasses import replace

    from PIL import Image
    from skimage.data import chelsea

    from usu.models.bundled import DEMO_MODEL
    from usu.models.loading import load_classifier

    classifier = load_classifier(DEMO_MODEL)
    # Nearly the whole photograph rather than a square of it: with the background one sees what is left out.
    prepare = replace(classifier.prepare, resize=224, crop=(224, 320))
    photograph: Callable[[], Any] = chelsea
    return Image.fromarray(photograph()), replace(classifier, prepare=prepare)
