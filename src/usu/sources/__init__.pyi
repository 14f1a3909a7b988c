from .coarse_map import CoarseMap as CoarseMap
from .coarse_map import Source as Source
from .registry import SOURCE_NAMES as SOURCE_NAMES
from .registry import SOURCES as SOURCES
from .registry import find_source as find_source
