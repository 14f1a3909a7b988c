"""How faithful pixel maps are to a model, by metrics with names that share forward passes.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so that the labels alone
load no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
