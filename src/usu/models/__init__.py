"""Networks and what goes into them: loading, layers, targets, fills, images and their placements."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
