"""Judges of pixel maps: faithfulness to a model, localisation and errors against a truth, statistics.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so that `import usu.metrics`
loads no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
