"""`usu demo`: one photograph that is already installed, by a network that is really trained."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from usu.cli._output import _writable_folder
from usu.cli.explain import _explain_picture

if TYPE_CHECKING:
    from PIL import Image

    from usu.models.classifier import Classifier


def demo(options: argparse.Namespace) -> int:
    """Explain scikit-image's photograph of a cat."""
    folder = _writable_folder(options.out)
    _explain_picture(*_demo_photograph(), folder, verdicts=True)
    return 0


def _demo_photograph() -> tuple[Image.Image, Classifier]:
    from PIL import Image
    from skimage.data import chelsea

    from usu.models.loading import DEMO_MODEL, load_classifier

    classifier = load_classifier(DEMO_MODEL)
    # Nearly the whole photograph rather than a square of it: with the background one sees what is left out.
    prepare = replace(classifier.prepare, resize=224, crop=(224, 320))
    photograph: Callable[[], Any] = chelsea
    return Image.fromarray(photograph()), replace(classifier, prepare=prepare)
