from .judge import Judge as Judge
from .labels import LABELS as LABELS
from .labels import Label as Label
from .registry import METRICS as METRICS
from .registry import Metric as Metric
from .registry import find_metric as find_metric
