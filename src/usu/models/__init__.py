"""Networks and what goes into them: loading, layers, targets, fills, images and their placements."""

from usu.models.classifier import Classifier, Preparation
from usu.models.images import read_image
from usu.models.loading import classifier_names, load_classifier

__all__ = ["Classifier", "Preparation", "classifier_names", "load_classifier", "read_image"]
