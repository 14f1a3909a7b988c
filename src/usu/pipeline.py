"""From an image and a model to a pixel map: source, segments, scores, refinement, redistribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, as_labels, as_tensor, check_finite, like
from usu.explanation import Explanation
from usu.models.forward import ForwardFunc, check_evaluation_mode, check_inputs, run
from usu.models.placement import Placement
from usu.models.targets import Targets, check_outputs, name_of, unit_of_answer
from usu.operators.redistribution import Mass
from usu.operators.registry import MODES as MODES
from usu.operators.upsamplers import upsample_all
from usu.scoring.owen import owen_map, pixel_scores
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Refinement, h_map
from usu.scoring.registry import find_method
from usu.segmentation.hierarchy import Hierarchy, check_fit
from usu.segmentation.methods import check_image, segment
from usu.settings import Settings, as_plain
from usu.sources.coarse_map import CoarseMap, Source, check_cells, check_coarse_map
from usu.sources.registry import find_source

# Where a mode's defaults differ from those of `usu.Settings`; docs/scores.md has the reasons.
_COMPLETE = {"method": "owen", "negative": "opposite"}
_DEFAULTS: dict[str, dict[str, Any]] = {"complete": {**_COMPLETE, "temperature": 1.0}}


def explain(
    model: nn.Module,
    inputs: Array,
    target: Targets | None = None,
    *,
    source: str | Source | None = None,
    layer: str | nn.Module | None = None,
    mode: str = "usu",
    images: Array | None = None,
    classes: Sequence[str] | None = None,
    placement: Placement | Sequence[Placement] | None = None,
    perturbations_per_eval: int = 16,
    show_progress: bool = False,
    **settings: Any,
) -> Any:
    """Explain a model's answer by a pixel map that conserves the source's mass.

    Args:
        model: a classifier in evaluation mode, from (B, C, H, W) to (B, classes); left as it was found.
        inputs: (C, H, W), or a batch (B, C, H, W); what the network takes.
        target: class index, name of `classes`, or a callable from the model's output, of any kind, to one
            score per image (B,); for a batch also one of these per image; the predicted class if None.
        source: name of an attribution source (see `usu.sources.SOURCES`), or a callable that returns a
            `CoarseMap`. By default "gradcam"; in mode "complete", which makes a coarse map of its own, the
            gradient at each pixel times its difference from the fill.
        layer: name or module for sources that describe a layer; by default the last layer with a spatial or
            token output before pooling. The result says which.
        mode: "usu" conserves each cell's mass; "iwmr" and "hybrid" move mass between cells; "complete" takes
            Owen values as the coarse map, on cells of their own, and what the source says of each pixel as
            their scores: all pixels together sum to f(x) - f(fill).
        images: (3, H, W) RGB in [0, 1] for segmentation, or a batch; by default the inputs, rescaled.
        classes: names in the order of the outputs, for targets given by name.
        placement: where the inputs lie in the photograph, for `Explanation.at_photograph`; for a batch, one
            per image.
        perturbations_per_eval: masked images per forward call.
        show_progress: show a bar on standard error.
        **settings: the fields of `usu.Settings`, such as temperature=0.1.

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: an argument that does not fit, a target out of range, a model in training mode.
        TypeError: an argument of the wrong kind, an unknown setting.
        ImportError: the library behind the source is missing.
    """
    options = settings_of(mode, settings)
    find = _find(source, layer, mode)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; for others, usu.upsample"
        )
    check_evaluation_mode(model, "model")
    batch, batched = check_inputs(inputs)
    predicted = 0
    if target is None:
        target = check_outputs(run(model, batch.clone()), len(batch)).argmax(1).tolist()
        target, predicted = (target if batched else target[0]), 1
    perturbed = _perturbation(model, inputs, target, options, perturbations_per_eval, show_progress, classes)
    views = _views(perturbed, images, placement, options)
    if find is None:
        found = CoarseMap(perturbed.first_order(), mass="total", source="gradient")
    else:
        found = find(model, batch, perturbed.targets, layer)
    coarse = check_coarse_map(found, len(batch))
    passes = tuple(predicted + spent for spent in coarse.forward_passes or [0] * len(batch))
    return _run(replace(coarse, forward_passes=passes), perturbed, views, mode, options, source)


def upsample(
    coarse: Array | Sequence[Array],
    inputs: Array,
    forward_func: ForwardFunc,
    target: Targets,
    *,
    mode: str = "usu",
    mass: Mass = "density",
    neighbourhoods: Array | Sequence[Array] | None = None,
    images: Array | None = None,
    classes: Sequence[str] | None = None,
    placement: Placement | Sequence[Placement] | None = None,
    perturbations_per_eval: int = 16,
    show_progress: bool = False,
    **settings: Any,
) -> Any:
    """Bring a coarse map from anywhere to pixels, by the scores of a model that need only be called.

    Args:
        coarse: (gh, gw), or (K,) with `neighbourhoods`; with a batch axis (B, ...) for a batch, or one map
            per image where they differ in size.
        inputs: (C, H, W), or a batch (B, C, H, W).
        forward_func: any callable from a batch to (B, classes) outputs, of the kind of `inputs`.
        target: as for `explain`.
        mode: as for `explain`.
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k.
        neighbourhoods: (H, W) labels 0..K-1 of the coarse values, or one label map per image; the grid of the
            map by default.
        images: as for `explain`.
        classes: as for `explain`.
        placement: as for `explain`.
        perturbations_per_eval: as for `explain`.
        show_progress: as for `explain`.
        **settings: the fields of `usu.Settings`.

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: as `explain`.
        TypeError: as `explain`.
    """
    options = settings_of(mode, settings)
    perturbed = _perturbation(
        forward_func, inputs, target, options, perturbations_per_eval, show_progress, classes
    )
    given = _given(coarse, mass, neighbourhoods, perturbed)
    return _run(given, perturbed, _views(perturbed, images, placement, options), mode, options)


def _find(source: str | Source | None, layer: str | nn.Module | None, mode: str) -> Source | None:
    """Return the source; None for the gradient at each pixel, which mode "complete" takes by itself."""
    if source is not None or mode != "complete":
        return find_source("gradcam" if source is None else source)
    if layer is not None:
        raise ValueError(f"layer={layer!r} needs a source that describes a layer, such as 'gradcam'")
    return None


def _given(
    coarse: Array | Sequence[Array],
    mass: Mass,
    neighbourhoods: Array | Sequence[Array] | None,
    perturbed: Perturbation,
) -> CoarseMap:
    """Return the caller's own maps as a `CoarseMap`, on the device of the inputs."""
    several = perturbed.batched and isinstance(coarse, list | tuple)
    maps = list(coarse) if several else as_floats(coarse, "coarse")
    rank = (1 if neighbourhoods is not None else 2) + perturbed.batched
    if isinstance(maps, Tensor) and maps.dim() != rank:
        raise ValueError(f"coarse must have {rank} axes for these inputs, got shape {tuple(maps.shape)}")
    values = [
        check_finite(as_floats(one, "coarse"), "coarse").to(perturbed.inputs.device)
        for one in (maps if perturbed.batched else [maps])
    ]
    if len(values) != len(perturbed.inputs):
        raise ValueError(f"coarse has {len(values)} maps for {len(perturbed.inputs)} inputs")
    labels = None if neighbourhoods is None else _labels(neighbourhoods, perturbed.inputs.device)
    return check_coarse_map(CoarseMap(values, mass, neighbourhoods=labels), len(values), "coarse")


def _labels(given: Array | Sequence[Array], device: torch.device) -> Tensor | list[Tensor]:
    """Return the caller's label map (H, W), or one per image."""
    if isinstance(given, list | tuple) and len(given) and np.ndim(given[0]) == 2:  # on any device each
        return [as_labels(one, "neighbourhoods").to(device) for one in given]
    return as_labels(given, "neighbourhoods").to(device)


@dataclass(frozen=True, eq=False)
class _Views:
    """What is known of each input before any map is: made first, that a source runs only if all fits.

    Attributes:
        pictures: (C, H, W) in [0, 1], RGB or grey.
        placements: where each lies in its photograph, where that is known.
        hierarchies: of each picture.
    """

    pictures: list[Tensor]
    placements: list[Placement | None]
    hierarchies: list[list[Hierarchy]]


def _views(
    perturbed: Perturbation,
    images: Array | None,
    placement: Placement | Sequence[Placement] | None,
    settings: Settings,
) -> _Views:
    pictures, placements = _pictures(images, perturbed), _placements(placement, perturbed)
    return _Views(pictures, placements, _hierarchies(settings, pictures, perturbed))


def _run(
    coarse: CoarseMap,
    perturbed: Perturbation,
    views: _Views,
    mode: str,
    settings: Settings,
    source: str | Source | None = None,
) -> Any:
    """Score and refine the segments, redistribute: the rest of the pipeline, for a batch."""
    check_cells(coarse, tuple(perturbed.inputs.shape[-2:]))
    tasks = [(image, hierarchy) for image, several in enumerate(views.hierarchies) for hierarchy in several]
    with perturbed:
        refinements = iter(find_method(settings.method)(perturbed, tasks, settings.rules))
    explanations = []
    for image, several in enumerate(views.hierarchies):
        own = list(islice(refinements, len(several)))
        score_map = _mean_score_map(own, settings)
        record = _record(image, coarse, perturbed, settings, own)
        if callable(source):
            record["settings"]["source"] = as_plain(source)
        if mode == "complete":
            score_map = _pixel_scores(record, score_map)
            record |= _owen(perturbed, own)
            record["unit"] = unit_of_answer(perturbed.targets[image], settings.output)
        explanations.append(
            Explanation(
                attribution=upsample_all(
                    "usu" if mode == "complete" else mode,
                    record["coarse"],
                    record["further"],
                    score_map,
                    record["neighbourhoods"],
                    mass=record["mass"],
                    **settings.redistribution,
                ),
                image=perturbed.give(views.pictures[image].expand(3, -1, -1).contiguous()),
                h_map=h_map(score_map, settings.rules.kernel),
                score_map=score_map,
                mode=mode,
                placement=views.placements[image],
                **record,
            )
        )
    return explanations if perturbed.batched else explanations[0]


def _record(
    image: int, coarse: CoarseMap, perturbed: Perturbation, settings: Settings, refinements: list[Refinement]
) -> dict[str, Any]:
    """Return the fields of an image's `Explanation` that say how it was got."""
    spent_before = coarse.forward_passes[image] if coarse.forward_passes else 0
    labels = coarse.neighbourhoods_of(image)
    return {
        "partitions": tuple(labels for refined in refinements for labels in refined.partitions),
        "raw_scores": tuple(raw for refined in refinements for raw in refined.raw_scores),
        "scores": tuple(scores for refined in refinements for scores in refined.scores),
        "coarse": perturbed.give(as_tensor(coarse.values[image], "coarse")),
        "further": tuple(perturbed.give(as_tensor(grid, "further")) for grid in coarse.further_of(image)),
        "target": name_of(perturbed.targets[image]),
        "probability": perturbed.probabilities[image],
        "mass": coarse.mass,
        "settings": settings.plain(),
        "forward_passes": spent_before + perturbed.passes[image],
        "source": coarse.source,
        "layer": coarse.layer,
        "unit": coarse.output and unit_of_answer(perturbed.targets[image], coarse.output),
        "neighbourhoods": None if labels is None else perturbed.give(as_labels(labels, "neighbourhoods")),
    }


def _pixel_scores(record: Mapping[str, Any], score_map: Array) -> Any:
    """Return what the coarse map says of each pixel as scores (H, W): it tells those of one player apart."""
    method = "bilinear" if record["neighbourhoods"] is None else "nearest"
    found = upsample_all(
        method, record["coarse"], record["further"], score_map, record["neighbourhoods"], mass=record["mass"]
    )
    return like(pixel_scores(as_tensor(found, "coarse")), found)


def _owen(perturbed: Perturbation, refinements: list[Refinement]) -> dict[str, Any]:
    """Return the fields of a record whose coarse map is made of Owen values."""
    masses, cells = owen_map(refinements)
    return {
        "coarse": perturbed.give(masses.to(perturbed.references)),
        "neighbourhoods": perturbed.give(cells),
        "further": (),
        "mass": "total",
    }


def _perturbation(
    forward_func: ForwardFunc,
    inputs: Array,
    target: Targets,
    settings: Settings,
    perturbations_per_eval: int,
    show_progress: bool,
    classes: Sequence[str] | None,
) -> Perturbation:
    return Perturbation(
        forward_func,
        inputs,
        target,
        baselines=settings.baselines,
        output=settings.output,
        perturbations_per_eval=perturbations_per_eval,
        show_progress=show_progress,
        classes=classes,
    )


def _pictures(images: Array | None, perturbed: Perturbation) -> list[Tensor]:
    """Return one picture (C, H, W) in [0, 1] per input; without `images`, the inputs stretched to [0, 1]."""
    inputs = perturbed.inputs
    if images is None:
        lowest, highest = inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True)
        stretched = (inputs - lowest) / (highest - lowest).clamp(min=torch.finfo(inputs.dtype).tiny)
        return list(check_image(stretched, "inputs, taken as images,"))
    pictures = check_image(images, "images")
    pictures = pictures if pictures.dim() == 4 else pictures[None]
    if len(pictures) != len(inputs) or pictures.shape[-2:] != inputs.shape[-2:]:
        raise ValueError(
            f"images must be one picture of the inputs' size each, got {tuple(pictures.shape)} for inputs "
            f"{tuple(inputs.shape)}"
        )
    return list(pictures.to(inputs.device))


def _placements(
    placement: Placement | Sequence[Placement] | None, perturbed: Perturbation
) -> list[Placement | None]:
    """Return where each input lies in its photograph, where that is known."""
    count, size = len(perturbed.inputs), tuple(perturbed.inputs.shape[-2:])
    if placement is None:
        return [None] * count
    given = [placement] if isinstance(placement, Placement) else list(placement)
    if len(given) != count or not all(isinstance(one, Placement) for one in given):
        raise ValueError(f"placement must be a usu.Placement for each of {count} inputs, got {placement!r}")
    for one in given:
        if one.network != size:
            raise ValueError(f"placement is of inputs of {one.network} pixels, but these have {size}")
    return [*given]


def _hierarchies(
    settings: Settings, pictures: list[Tensor], perturbed: Perturbation
) -> list[list[Hierarchy]]:
    """Return the hierarchies of each picture."""
    wanted: Any = settings.segmentation
    if isinstance(wanted, Mapping):
        return [[_segment(picture, *entry) for entry in wanted.items()] for picture in pictures]
    if isinstance(wanted, Hierarchy):
        wanted = [wanted]
    per_image = list(wanted) if perturbed.batched else [list(wanted)]
    if len(per_image) != len(pictures):
        raise ValueError(f"segmentation has entries for {len(per_image)} images, inputs are {len(pictures)}")
    nested = [[entry] if isinstance(entry, Hierarchy) else list(entry) for entry in per_image]
    if not all(several and all(isinstance(one, Hierarchy) for one in several) for several in nested):
        raise TypeError(
            "segmentation must be made of usu.Hierarchy objects; wrap label maps in usu.Hierarchy"
        )
    return [[check_fit(one, perturbed.inputs) for one in several] for several in nested]


def _segment(picture: Tensor, name: str, counts: Sequence[int]) -> Hierarchy:
    try:
        hierarchy: Hierarchy = segment(picture, counts, name)
    except (TypeError, ValueError) as problem:
        raise type(problem)(f"segmentation by {name!r}: {problem}") from None
    return hierarchy


def _mean_score_map(refinements: list[Refinement], settings: Settings) -> Array:
    """Average the score maps of an image's hierarchies; with mixing="mean" all depths count alike."""
    alike = settings.rules.mixing != "mean"
    weights = [1 if alike else len(refined.partitions) for refined in refinements]
    weighted = [weight * refined.score_map for weight, refined in zip(weights, refinements, strict=True)]
    mean: Any = sum(weighted) / sum(weights)
    return mean.clip(0, 1)  # type: ignore[no-any-return]


def settings_of(mode: str, settings: Mapping[str, Any]) -> Settings:
    """Return all settings of a mode, its defaults where none are given.

    Raises:
        ValueError: an unknown mode, a setting out of its range, or one that does not fit the mode.
        TypeError: a setting that is unknown or of the wrong kind.
    """
    check_choice(mode, MODES, "mode")
    options = Settings.of(**{**_DEFAULTS.get(mode, {}), **settings})
    for name, needed in _COMPLETE.items() if mode == "complete" else ():
        if (found := getattr(options, name)) != needed:
            raise ValueError(
                f"mode='complete' is made of Owen values of both signs: it needs {name}={needed!r}, not "
                f"{found!r}"
            )
    return options
