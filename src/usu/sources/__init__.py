"""Attribution sources: from a model and a batch to raw, signed coarse maps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
