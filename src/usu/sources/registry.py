"""Attribution sources: from a model and its inputs to a coarse map that keeps its sign and its scale."""

from __future__ import annotations

from importlib import import_module

from usu.sources.coarse_map import Source

SOURCE_NAMES = {
    "given": "a given map",
    "gradient": "gradients",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "shapleycam": "ShapleyCAM",
    "finercam": "FinerCAM",
    "eigencam": "Eigen-CAM",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
    "fullgrad": "FullGrad",
    "rollout": "Attention rollout",
    "rise": "RISE",
    "occlusion": "Occlusion",
    "shap": "SHAP",
    "lime": "LIME",
    "integrated-gradients": "Integrated gradients",
}

# Where each source lives; its module, and the library behind it, are imported on request.
_SOURCES = {
    "gradcam": "usu.sources.gradcam:gradcam",
    "hirescam": "usu.sources.gradcam:hirescam",
    "gradcam++": "usu.sources.gradcam:gradcam_plus_plus",
    "xgradcam": "usu.sources.gradcam:xgradcam",
    "fullgrad": "usu.sources.fullgrad:fullgrad",
    "shapleycam": "usu.sources.gradcam:shapleycam",
    "finercam": "usu.sources.gradcam:finercam",
    "scorecam": "usu.sources.gradcam:scorecam",
    "ablationcam": "usu.sources.gradcam:ablationcam",
    "layercam": "usu.sources.gradcam:layercam",
    "eigencam": "usu.sources.gradcam:eigencam",
    "rollout": "usu.sources.rollout:rollout",
    "rise": "usu.sources.rise:rise",
    "occlusion": "usu.sources.captum:occlusion",
    "shap": "usu.sources.shap:shap",
    "lime": "usu.sources.captum:lime",
    "integrated-gradients": "usu.sources.captum:integrated_gradients",
}
SOURCES = tuple(_SOURCES)


def find_source(source: str | Source) -> Source:
    """Return a source by name, or a callable as it is.

    A source is called with a model in evaluation mode, which it leaves unchanged; inputs (B, C, H, W);
    targets, one per image, each a class index or a callable on the model's output; and a layer's name, a
    module or None. It returns a `CoarseMap`. It raises ValueError for a model in training mode, targets that
    do not fit, and a layer that does not exist or that it does not describe.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a callable.
        ImportError: the library behind the source is missing; the message names the extra.
    """
    if callable(source):
        return source
    if not isinstance(source, str):
        raise TypeError(f"source must be a name or a callable, got {type(source).__name__}")
    if source not in _SOURCES:
        raise ValueError(f"source must be one of {SOURCES} or a callable, got {source!r}")
    module, name = _SOURCES[source].split(":")
    found: Source = getattr(import_module(module), name)
    return found
