"""Adapters to other libraries, on their own objects."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.robustness.calls import Subject
from benchmarks.robustness.samples import (
    DENSE,
    IMAGE,
    INPUTS,
    MODEL,
    PIPELINE,
    REGIONS,
    SCORING,
    TARGET,
    Tiny,
)
from benchmarks.robustness.wrong_values import (
    FLOATS,
    JUNK,
    LABELS,
    NAMES,
    NAN,
    Opaque,
    either,
    given,
    one_of,
    spoiled,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from usu.adapters import captum, gradcam, lime, quantus, shap

_BATCH = torch.from_numpy(INPUTS)[None]
_IMAGES = torch.from_numpy(IMAGE)[None]
_QUADTREE: dict[str, Any] = {"segmentation": {"quadtree": (4,)}, "images": _IMAGES}
_CELLS = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 4, 3, 4)).astype(np.float32))
_MASK = torch.from_numpy(REGIONS)
_BY_FEATURE = torch.from_numpy(np.arange(5.0, dtype=np.float32)[REGIONS]).expand(1, 3, 12, 16).clone()
_CAM = GradCAM(MODEL, [MODEL.features])
_CAM.activations_and_grads.release()
_SETTINGS = {
    name: PIPELINE[name]
    for name in ("baselines", "output", "temperature", "potential", "mode", "scoring", "temprature")
}
_TENSOR = either(
    JUNK, one_of(torch.ones(2, 4, 3, 4), torch.ones(1), torch.ones(1, 4, 3, 4) * NAN, np.ones(3))
)
_LIME = SimpleNamespace(segments=REGIONS, local_exp={1: [(k, 0.1 * k) for k in range(5)]})


def of_lime(segments: Any = REGIONS, weights: Any = None, **given: Any) -> Any:
    """Upsample an explanation of the lime package, made by hand."""
    return lime.upsample(SimpleNamespace(segments=segments, local_exp=weights or _LIME.local_exp), **given)


def of_gradcam(
    cam: Any = None, input_tensor: Any = _BATCH, targets: Any = None, images: Any = None, **settings: Any
) -> Any:
    """Wrap a CAM object, and call the wrapper."""
    own = GradCAM(MODEL, [MODEL.features]) if cam is None else cam
    try:
        return gradcam.upsampled(own, segmentation={"quadtree": (4,)}, **settings)(input_tensor, targets)
    finally:
        if cam is None:
            own.activations_and_grads.release()


def _of_torchcam() -> dict[str, Subject]:
    """Return how an extractor's map is redistributed, if torch-cam is there, which needs Python 3.11."""
    if find_spec("torchcam") is None:
        return {}
    from torchcam.methods import LayerCAM

    from usu.adapters import torchcam

    def redistributed(extractor: Any = None, **given: Any) -> Any:
        if extractor is not None:
            return torchcam.upsample(extractor, **given)
        with LayerCAM(MODEL, "features") as own:
            return torchcam.upsample(own, **given)

    return {
        "adapters.torchcam": Subject(
            redistributed,
            {"inputs": _BATCH, "class_idx": 1, **_QUADTREE},
            {
                "extractor": one_of(3, "CAM", MODEL, LayerCAM, {}, []),
                "inputs": FLOATS,
                "class_idx": given(TARGET),
                "layer": one_of("attic", "head", 3, "", []),
                **_SETTINGS,
            },
            ("target",),
        )
    }


def _shap() -> Any:
    """Return an explanation of SHAP's partition explainer."""
    from usu.sources.shap import library

    def answers(pictures: Any) -> Any:
        batch = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
        return MODEL(batch).detach().numpy()[:, 1]

    picture = np.ascontiguousarray(INPUTS.transpose(1, 2, 0))
    masker = library.maskers.Image(np.zeros_like(picture), shape=picture.shape)
    found = library.PartitionExplainer(answers, masker)(picture[None], max_evals=8, batch_size=4, silent=True)
    return SimpleNamespace(
        values=found.values[0],
        hierarchical_values=found.hierarchical_values[0],
        clustering=found.clustering[0],
    )


SUBJECTS: dict[str, Subject] = {
    "adapters.captum": Subject(
        captum.upsample,
        {"attributions": _CELLS, "inputs": _BATCH, "forward_func": MODEL, "target": 1, **_QUADTREE},
        {
            "attributions": _TENSOR,
            "inputs": FLOATS,
            "forward_func": SCORING["forward_func"],
            "target": TARGET,
            "feature_mask": given(spoiled(REGIONS, LABELS)),
            "mass": NAMES,
            **_SETTINGS,
        },
    ),
    "adapters.captum, features": Subject(
        captum.upsample,
        {"attributions": _BY_FEATURE, "inputs": _BATCH, "forward_func": MODEL, "target": 1}
        | {"feature_mask": _MASK, **_QUADTREE},
        {
            "attributions": either(_TENSOR, one_of(torch.rand(1, 3, 12, 16))),
            "feature_mask": one_of("mask", 3.5, _MASK[:5], _MASK.double(), [], {}, Opaque),
            **_SETTINGS,
        },
    ),
    "adapters.gradcam": Subject(
        of_gradcam,
        {"targets": [ClassifierOutputTarget(1)]},
        {
            "cam": one_of(3, "GradCAM", MODEL, GradCAM, {}, []),
            "input_tensor": either(spoiled(_BATCH, FLOATS), one_of(_BATCH[0, 0])),
            "targets": one_of([], [1, 2], [ClassifierOutputTarget(1)] * 2),
            **_SETTINGS,
        },
        ("inputs", "target"),
    ),
    **_of_torchcam(),
    "adapters.lime": Subject(
        of_lime,
        {"segments": REGIONS, "inputs": _BATCH[0], "forward_func": MODEL, "target": 1}
        | {**_QUADTREE, "images": IMAGE},
        {
            "segments": either(LABELS, one_of(REGIONS + 1, REGIONS[:5])),
            "inputs": FLOATS,
            "forward_func": SCORING["forward_func"],
            "target": either(TARGET, one_of(3)),
            "weights": one_of({2: [(0, 1.0)]}, {1: [(9, 1.0)]}, {1: [(0, NAN)]}, {1: [(0, "a")]}, {1: 3}),
            **_SETTINGS,
        },
        ("explanation",),
    ),
    "adapters.shap": Subject(
        shap.upsample,
        {"explanation": _shap(), "inputs": _BATCH[0], "forward_func": MODEL, "target": 1},
        {
            "explanation": one_of(
                3,
                "values",
                SimpleNamespace(values=np.ones((12, 16, 3)), hierarchical_values=None, clustering=None),
                SimpleNamespace(
                    values=np.ones((5, 5, 3)), hierarchical_values=np.ones(9), clustering=np.ones((4, 4))
                ),
                {},
                Opaque,
            )
        },
    ),
    "adapters.quantus": Subject(
        quantus.quantus_score,
        {"name": "sparseness", "model": MODEL, "inputs": _BATCH[0], "target": 1}
        | {"attribution": torch.from_numpy(DENSE)},
        {
            "name": either(NAMES, one_of("infidelity")),
            "model": one_of(None, 3, Tiny()),
            "attribution": one_of(torch.ones(3), torch.ones(16, 12), torch.ones(1, 12, 16)),
        },
        ("Quantus",),
    ),
}
