"""From an image and a model to a pixel map: source, segments, scores, refinement, redistribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import torch
from torch import nn

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_labels, as_tensor, like
from usu.explanation import Explanation
from usu.models.alone import one_at_a_time
from usu.models.backends import BACKENDS
from usu.models.forward import (
    Face,
    ForwardFunc,
    as_given,
    check_evaluation_mode,
    check_inputs,
    check_layer_name,
    integers_of,
    take_apart,
)
from usu.models.forward import run as run_once
from usu.models.naming import ClassNames, find_class_names, name_of_class, name_of_model
from usu.models.placement import Placement
from usu.models.targets import Targets, check_outputs, name_of, unit_of_answer
from usu.models.tokens import Tokens
from usu.operators.coarse import Coarse
from usu.operators.lattice import Mass
from usu.operators.registry import MODES as MODES
from usu.record import library_versions
from usu.runtime.renames import renamed
from usu.scoring.h_map import h_map
from usu.scoring.owen import owen_map, pixel_scores
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Refinement
from usu.segmentation.guided import smoothed as smoothed
from usu.settings import Settings, as_plain
from usu.settings import mode_of as mode_of
from usu.settings import settings_of as settings_of
from usu.sources._answer import ImageSource
from usu.sources.coarse_map import CoarseMap, Source, check_cells, check_coarse_map, given_map
from usu.sources.default import by_kind
from usu.sources.registry import find_source, pictured, told
from usu.views import Views, views_of


@renamed(classes="class_names", method="scoring")
@one_at_a_time("model")
def explain(
    model: nn.Module,
    inputs: Array,
    target: Targets | None = None,
    *,
    source: str | Source | None = None,
    layer: str | nn.Module | None = None,
    mode: str | None = None,
    images: Array | None = None,
    class_names: ClassNames | None = None,
    placement: Placement | Sequence[Placement] | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: Any,
) -> Any:
    """Explain a model's answer by a pixel map that conserves the source's mass.

    Args:
        model: a classifier in evaluation mode, from (B, C, H, W) to (B, classes); left unchanged.
        inputs: (C, H, W), or a batch (B, C, H, W); what the network takes. With `ndim=1` signals (C, L), with
            `ndim=3` volumes (C, D, H, W), or a batch of them. Or what a processor of Hugging
            Face returned: images as `pixel_values`, and perhaps texts; one image counts as (C, H, W).
        target: class index, name of `class_names`, or a callable from the model's output, of any kind, to one
            score per image (B,), such as `usu.Similarity`; a target of pytorch-grad-cam; a tuple of indices
            of an output of more than two axes, as in Captum. For a batch also a list with one of these per
            image. The predicted class if None.
        source: name of an attribution source (see `usu.sources.SOURCES`), or a callable that returns a
            `CoarseMap`. By default "attention-relevance" for networks that attend among all tokens and
            "gradcam" for others; in mode "complete", which makes its own coarse map, the gradient at each
            pixel times its difference from the fill.
        layer: name or module for sources that describe a layer; by default the last layer with a spatial or
            token output before pooling. The result names it.
        mode: "total-conserving" shares the total smoothly, without cells; "usu" conserves each cell's mass;
            "iwmr" and "hybrid" move mass between cells; "complete" uses Owen values, on their own cells, as
            the coarse map, and the source's values at pixels as their scores: all pixels together sum to
            f(x) - f(fill). By default "total-conserving", but "usu" where `continuous` is given (False is the
            paper's operator) or where the source's cells are not a grid.
        images: (3, H, W) RGB or (1, H, W) grey in [0, 1] for segmentation, or a batch; by default the inputs,
            rescaled. Inputs of another number of channels need them, or segments of your own: these are then
            shown on the mean channel. Signals and volumes are segmented in any channels and values.
        class_names: names in the order of the outputs, a mapping from indices, or "imagenet"; for targets
            given by name, and to be shown. By default the model's own, if it has some.
        placement: where the inputs lie in the photograph, for `Explanation.to_original_size`; for a batch,
            one per image.
        tokens: where the cells lie in the layer's output, or among the tokens of attention, for models whose
            layout is not found; see `usu.Tokens`.
        run: which run of the layer is described, from 0, if the model runs it on several images or crops.
        perturbations_per_eval: masked images per forward call.
        backend: what masked images go through: "eager" for the model itself; a copy by "openvino", or by
            PyTorch's "compile"; "auto" for OpenVINO's copy if it is installed (the extra `fast`), will save
            more time in this call than it takes, and answers as the model does. The record says which ran.
        show_progress: show a bar on standard error.
        **settings: the fields of `usu.Settings`, such as temperature=0.1.

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: an argument that does not fit, a target out of range, a model in training mode.
        TypeError: an argument of the wrong kind, an unknown setting.
        ImportError: the library behind the source or the backend is missing.
    """
    check_choice(backend, BACKENDS, "backend")
    options = settings_of(mode_of(mode, settings), settings)
    find = _find(source, layer, mode, tokens=tokens, run=run)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; for others, usu.upsample"
        )
    check_evaluation_mode(model, "model")
    check_layer_name(model, layer)
    names, title = find_class_names(class_names, model), name_of_model(model)
    model, inputs = take_apart(model, inputs)
    batch, batched = check_inputs(inputs, options.ndim)
    integers = _check_integers(inputs, source, mode)
    predicted = 0
    if target is None:
        target = (
            check_outputs(run_once(model, as_given(batch.clone(), integers)), len(batch)).argmax(1).tolist()
        )
        target, predicted = (target if batched else target[0]), 1
    perturbed = Perturbation(
        model,
        inputs,
        target,
        baselines=options.baselines,
        output=options.output,
        class_names=names,
        ndim=options.ndim,
        perturbations_per_eval=perturbations_per_eval,
        show_progress=show_progress,
    )
    settings = _suited(settings, options, perturbed)
    options = settings_of(mode_of(mode, settings), settings)
    views = views_of(perturbed, images, placement, options)
    copy = perturbed.speed_up(backend, masked_passes(options, views))
    if find is None:
        found = CoarseMap(perturbed.first_order(), mass="total", source="gradient")
    else:
        asked = copy if copy and source in _WITHOUT_GRADIENTS else _plain(model, perturbed)
        ask = pictured(_alike(find, perturbed), views.pictures)
        found = ask(asked, batch, perturbed.targets, layer)
    coarse = check_coarse_map(found, len(batch), ndim=options.ndim)
    passes = tuple(predicted + spent for spent in coarse.forward_passes or [0] * len(batch))
    mode = mode_of(mode, settings, coarse.neighbourhoods is None)
    options, words = settings_of(mode, settings), _Words(names, title, source)
    return _run(replace(coarse, forward_passes=passes), perturbed, views, mode, options, words)


@renamed(classes="class_names", method="scoring")
@one_at_a_time("forward_func")
def upsample(
    coarse: Array | Sequence[Array],
    inputs: Array,
    forward_func: ForwardFunc,
    target: Targets,
    *,
    mode: str | None = None,
    mass: Mass = "density",
    neighbourhoods: Array | Sequence[Array] | None = None,
    images: Array | None = None,
    class_names: ClassNames | None = None,
    placement: Placement | Sequence[Placement] | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: Any,
) -> Any:
    """Bring a coarse map from anywhere to pixels, by the scores of a model that only needs to be callable.

    Args:
        coarse: (gh, gw), or (K,) with `neighbourhoods`; with a batch axis (B, ...) for a batch, or one map
            per image if their sizes differ.
        inputs: (C, H, W), or a batch (B, C, H, W); or signals or volumes, as for `explain`.
        forward_func: any callable from a batch to (B, classes) outputs, of the kind of `inputs`.
        target: as for `explain`, but never None.
        mode: as for `explain`.
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k.
        neighbourhoods: (H, W) labels 0..K-1 of the coarse values, or one label map per image; by default the
            map's own grid.
        images: as for `explain`.
        class_names: as for `explain`.
        placement: as for `explain`.
        perturbations_per_eval: as for `explain`.
        backend: as for `explain`.
        show_progress: as for `explain`.
        **settings: the fields of `usu.Settings`.

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: as `explain`.
        TypeError: as `explain`.
        ImportError: the library behind the backend is missing.
    """
    check_choice(backend, BACKENDS, "backend")
    mode = mode_of(mode, settings, neighbourhoods is None)
    options = settings_of(mode, settings)
    names = find_class_names(class_names, forward_func)
    if isinstance(forward_func, nn.Module):
        forward_func, inputs = take_apart(forward_func, inputs)
    perturbed = Perturbation(
        forward_func,
        inputs,
        target,
        baselines=options.baselines,
        output=options.output,
        class_names=names,
        ndim=options.ndim,
        perturbations_per_eval=perturbations_per_eval,
        show_progress=show_progress,
    )
    given = given_map(coarse, mass, neighbourhoods, perturbed.inputs, perturbed.batched)
    words = _Words(names, name_of_model(forward_func))
    settings = _suited(settings, options, perturbed)
    options = settings_of(mode, settings)
    views = views_of(perturbed, images, placement, options)
    perturbed.speed_up(backend, masked_passes(options, views))
    return _run(given, perturbed, views, mode, options, words)


def _find(
    source: str | Source | None, layer: str | nn.Module | None, mode: str | None, **place: Any
) -> Source | None:
    """Return the source; None for the gradient at each pixel, the default of mode "complete"."""
    if source is not None or mode != "complete":
        return told(by_kind if source is None else find_source(source), **place)
    for name, given in {"layer": layer, **place}.items():
        if given is not None:
            raise ValueError(f"{name}={given!r} needs a source that describes a layer, such as 'gradcam'")
    return None


def _suited(settings: dict[str, Any], options: Settings, perturbed: Perturbation) -> dict[str, Any]:
    """Return the settings, with masking where the default would need gradients and the answers have none."""
    by_order = "scoring" not in settings and options.way.name == Settings.scoring
    return {**settings, "scoring": "mask"} if by_order and not perturbed.has_gradients() else settings


# Sources that ask the model for nothing but answers.
_WITHOUT_GRADIENTS = ("rise", "occlusion", "shap", "lime")


def _check_integers(inputs: Any, source: str | Source | None, mode: str | None) -> torch.dtype | None:
    """Return the dtype of integer inputs, None for floats; raise TypeError where gradients are needed."""
    integers = integers_of(inputs)
    needs = source is None or (isinstance(source, str) and source not in _WITHOUT_GRADIENTS)
    if integers is not None and needs:
        what = (
            f"mode {mode!r}" if source is None and mode == "complete" else f"source {source or 'gradcam'!r}"
        )
        raise TypeError(
            f"inputs are {str(integers).removeprefix('torch.')}, and {what} needs gradients, which integers "
            f"do not have: give floats as the model takes them, or name a source of {_WITHOUT_GRADIENTS}"
        )
    return integers


def _plain(model: nn.Module, perturbed: Perturbation) -> nn.Module:
    """Return the model as sources take it: floats in, and scores out where the targets are classes."""
    read = not perturbed.is_tensor and not any(map(callable, perturbed.targets))
    if not read and perturbed.integers is None:
        return model
    return Face(model, integers=perturbed.integers, read=read)


def _alike(source: Source, perturbed: Perturbation) -> Source:
    """Let a source that asks for a probability read it off the outputs as the scores do."""
    if isinstance(source, ImageSource) and source.output == "probability" and perturbed.kind:
        return cast(Source, replace(cast(Any, source), output=perturbed.kind))
    return source


def _run(
    coarse: CoarseMap,
    perturbed: Perturbation,
    views: Views,
    mode: str,
    settings: Settings,
    words: _Words,
) -> Any:
    """Score and refine the segments, redistribute: the rest of the pipeline, for a batch."""
    check_cells(coarse, tuple(perturbed.inputs.shape[2:]))
    tasks = [(image, hierarchy) for image, several in enumerate(views.hierarchies) for hierarchy in several]
    perturbed.coarse = coarse.__getitem__
    with perturbed:
        refinements = iter(settings.way.score(perturbed, tasks, settings.rules))
    explanations = []
    for image, several in enumerate(views.hierarchies):
        own = tuple(islice(refinements, len(several)))
        shared = _given_back(coarse[image], perturbed)
        score_map = _mean_score_map(own, settings)
        record = _provenance(image, coarse, perturbed, settings, words)
        if mode == "complete":  # Owen values are the cells; the source's value at a pixel is its score
            score_map, shared = _pixel_scores(shared, score_map), _owen(own, perturbed)
            record["unit"] = record["answer_unit"]
        score_map = smoothed(score_map, views.pictures[image], settings.score_smoothing)
        upsampler = "usu" if mode == "complete" else mode
        explanations.append(
            Explanation(
                attribution=shared.upsample(upsampler, score_map, **settings.redistribution),
                coarse=shared.values,
                mass=shared.mass,
                neighbourhoods=shared.neighbourhoods,
                further=shared.further,
                image=perturbed.give(views.shown(image)),
                refinements=own,
                score_map=score_map,
                h_map=h_map(score_map, settings.rules.kernel, ndim=settings.ndim),
                mode=mode,
                placement=views.placements[image],
                **record,
            )
        )
    return explanations if perturbed.batched else explanations[0]


@dataclass(frozen=True)
class _Words:
    """What a record says of its origin: names of the classes and of the model, the source as it was given."""

    class_names: tuple[str, ...] | None
    model: str
    source: str | Source | None = None


def _provenance(
    image: int, coarse: CoarseMap, perturbed: Perturbation, settings: Settings, words: _Words
) -> dict[str, Any]:
    """Return the fields of an image's `Explanation` that say how it was computed."""
    plain = settings.plain()
    if callable(words.source):
        plain["source"] = as_plain(words.source)
    spent_before = coarse.forward_passes[image] if coarse.forward_passes else 0
    target, kind = perturbed.targets[image], perturbed.kind
    return {
        "target": name_of(target),
        "probability": perturbed.probabilities[image],
        "answer": float(perturbed.references[image]),
        "answer_unit": unit_of_answer(target, perturbed.output, kind),
        "class_name": name_of_class(words.class_names, name_of(target)),
        "model": words.model,
        "settings": plain,
        "backend": perturbed.backend,
        "versions": {**library_versions(), **perturbed.versions},
        "forward_passes": spent_before + perturbed.passes[image],
        "source": coarse.source,
        "layer": coarse.layer,
        "unit": coarse.output and unit_of_answer(target, coarse.output, kind),
    }


def masked_passes(settings: Settings, views: Views) -> int:
    """Return about how many masked copies are asked for without gradients: one per segment, or as said."""
    own = getattr(settings.way, "masked_passes", lambda several: sum(sum(one.counts) for one in several))
    return sum(map(own, views.hierarchies))


def _given_back(coarse: Coarse, perturbed: Perturbation) -> Coarse:
    """Return a coarse map in the kind and on the device of the caller's inputs."""
    labels = coarse.neighbourhoods
    return replace(
        coarse.map(lambda cells: perturbed.give(as_tensor(cells, "coarse"))),
        neighbourhoods=None if labels is None else perturbed.give(as_labels(labels, "neighbourhoods")),
    )


def _pixel_scores(coarse: Coarse, score_map: Array) -> Any:
    """Return a coarse map's values at pixels as scores (H, W), which distinguish the pixels of one player."""
    found = coarse.upsample("bilinear" if coarse.neighbourhoods is None else "nearest", score_map)
    return like(pixel_scores(as_tensor(found, "coarse")), found)


def _owen(refinements: Sequence[Refinement], perturbed: Perturbation) -> Coarse:
    """Return the coarse map that is made of Owen values."""
    masses, cells = owen_map(refinements)
    return Coarse(perturbed.give(masses.to(perturbed.references)), "total", perturbed.give(cells))


def _mean_score_map(refinements: Sequence[Refinement], settings: Settings) -> Array:
    """Average the score maps of an image's hierarchies; with mixing="mean" all depths weigh the same."""
    alike = settings.rules.mixing != "mean"
    weights = [1 if alike else len(refined.partitions) for refined in refinements]
    weighted = [weight * refined.score_map for weight, refined in zip(weights, refinements, strict=True)]
    mean: Any = sum(weighted) / sum(weights)
    return mean.clip(0, 1)  # type: ignore[no-any-return]
