"""Attribution sources: from a model and its inputs to a coarse map that keeps its sign and its scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from usu.arrays.checks import suggestion

if TYPE_CHECKING:
    from usu.sources.coarse_map import Source

# Of each source its title, and where in `usu.sources` it lives; None for maps that no name makes. The module,
# and the library behind it, are imported on request.
_SOURCES = {
    "given": ("a given map", None),
    "gradient": ("gradients", None),
    "gradcam": ("Grad-CAM", "gradcam:gradcam"),
    "gradcam++": ("Grad-CAM++", "cams:gradcam_plus_plus"),
    "hirescam": ("HiResCAM", "cams:hirescam"),
    "xgradcam": ("XGrad-CAM", "cams:xgradcam"),
    "layercam": ("LayerCAM", "cams:layercam"),
    "shapleycam": ("ShapleyCAM", "cams:shapleycam"),
    "finercam": ("FinerCAM", "cams:finercam"),
    "eigencam": ("Eigen-CAM", "cams:eigencam"),
    "scorecam": ("Score-CAM", "cams:scorecam"),
    "ablationcam": ("Ablation-CAM", "cams:ablationcam"),
    "fullgrad": ("FullGrad", "fullgrad:fullgrad"),
    "rollout": ("Attention rollout", "rollout:rollout"),
    "attention-relevance": ("Attention relevance", "rollout:attention_relevance"),
    "rise": ("RISE", "rise:rise"),
    "occlusion": ("Occlusion", "captum:occlusion"),
    "shap": ("SHAP", "shap:shap"),
    "lime": ("LIME", "captum:lime"),
    "integrated-gradients": ("Integrated gradients", "captum:integrated_gradients"),
}
SOURCE_NAMES = {name: title for name, (title, _) in _SOURCES.items()}
SOURCES = tuple(name for name, (_, place) in _SOURCES.items() if place)


def find_source(source: str | Source) -> Source:
    """Return a source by name, or a callable as it is.

    A source is called with a model in evaluation mode, which it leaves unchanged; inputs (B, C, H, W);
    targets, one per image, each a class index or a callable on the model's output; and a layer's name, a
    module or None. If it has a parameter `images`, it gets the inputs' pictures by it. It returns a
    `CoarseMap`. It raises ValueError for a model in training mode, targets that do not fit, and a layer that
    does not exist or that it does not describe.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a callable.
        ImportError: the library behind the source is missing; the message names the extra.
    """
    if callable(source):
        return source
    if not isinstance(source, str):
        raise TypeError(f"source must be a name or a callable, got {type(source).__name__}")
    _, place = _SOURCES.get(source, (None, None))
    if place is None:
        raise ValueError(
            f"source must be one of {SOURCES} or a callable, got {source!r}{suggestion(source, SOURCES)}"
        )
    module, name = place.split(":")
    found: Source = getattr(import_module(f"usu.sources.{module}"), name)
    return found


def pictured(source: Source, pictures: Sequence[Any]) -> Source:
    """Return a source that gets the pictures, one per image, if it has a parameter `images`."""
    if "images" not in signature(source).parameters:
        return source
    given: dict[str, Any] = {"images": pictures}
    return partial(source, **given)


def told(source: Source, **place: Any) -> Source:
    """Return a source that gets these keyword arguments, such as `tokens` and `run`, unless they are None.

    Raises:
        TypeError: a source that does not take them.
    """
    given = {name: value for name, value in place.items() if value is not None}
    tokens = given.get("tokens")
    if tokens is not None and not hasattr(tokens, "places"):
        raise TypeError(f"tokens must be usu.Tokens, got {tokens!r}")
    if not given:
        return source
    for name in given.keys() - signature(source).parameters.keys():
        raise TypeError(
            f"{name}= is for sources that describe a layer or tokens, such as 'gradcam' and 'rollout', got "
            f"{given[name]!r}"
        )
    found: Source = partial(source, **given)
    return found
