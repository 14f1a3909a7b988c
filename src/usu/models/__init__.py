"""Networks and what goes into them: loading, layers, targets, fills, pictures and where they lie."""

from typing import TYPE_CHECKING

from usu.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from usu.models.classifier import Classifier, Preparation
    from usu.models.images import read_image
    from usu.models.loading import classifier_names, load_classifier

__all__ = ["Classifier", "Preparation", "classifier_names", "load_classifier", "read_image"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "classifier": ("Classifier", "Preparation"),
        "images": ("read_image",),
        "loading": ("classifier_names", "load_classifier"),
    },
)
