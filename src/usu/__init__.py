"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so that `import usu` loads
neither torch nor scikit-image.
"""

import lazy_loader

_attribute, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("plot")  # so that `from usu import *` works without matplotlib


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("usu-xai")
    return _attribute(name)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
