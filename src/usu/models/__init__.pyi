from .classifier import Classifier as Classifier
from .classifier import Preparation as Preparation
from .images import read_image as read_image
from .loading import classifier_names as classifier_names
from .loading import load_classifier as load_classifier
