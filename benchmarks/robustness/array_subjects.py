"""What takes arrays and plain values alone: operators, segments, metrics, settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torchvision.transforms import Resize

import usu
import usu.metrics
from benchmarks.robustness.calls import Subject
from benchmarks.robustness.samples import (
    COARSE,
    DENSE,
    FILL,
    IMAGE,
    IMAGES,
    INPUTS,
    LEVEL_MAPS,
    LEVELS,
    LEVELS_BAD,
    OPERATOR,
    REGIONS,
    RULES,
    SEGMENTATION_KIND,
    SEGMENTS,
    SIGNAL,
    TRUTH,
)
from benchmarks.robustness.wrong_values import (
    COUNT,
    FLAG,
    FLOATS,
    INF,
    JUNK,
    LABELS,
    MAPS,
    NAMES,
    NAN,
    NUMBER,
    PIXELS,
    SCORES,
    SIZE,
    WHOLE,
    Bad,
    Opaque,
    anywhere,
    either,
    given,
    one_of,
    spoiled,
)
from usu.models.baselines import make_fill
from usu.models.placement import Placement
from usu.models.target_objects import Similarity
from usu.operators.redistribution import share_total
from usu.sources.registry import find_source
from usu.sources.rise import Rise

_SETTING: dict[str, Bad] = {
    **{name: maker for name, maker in OPERATOR.items() if name != "mass"},
    "importance_temperature": given(NUMBER),
    "negative": NAMES,
    "continuous": FLAG,
}
_TRUTH = either(FLOATS, one_of(DENSE[:5], DENSE.T, -DENSE, np.zeros((12, 16)), np.full((12, 16), NAN)))
_MASKS = np.stack([SEGMENTS == 0, SEGMENTS == 1, SEGMENTS < 3])
_SAMPLES = np.random.default_rng(1).normal(size=(2, 9))
_SAMPLE = either(FLOATS, one_of(_SAMPLES[0, :1], _SAMPLES, _SAMPLES[0, 0]))
_PLACE = Placement((20, 30), (12, 16), (2.0, 3.0, 14.0, 19.0), (2.0, 3.0, 14.0, 19.0))
_BOX = one_of(
    None, 3, "box", (), (1, 2, 3), (3, 2, 1, 4), (1.0, 4.0, 2.0, 3.0), (NAN, 0, 3, 3), (0, 0, INF, 3), {}
)
_SIZE2 = one_of(None, "ab", (), (3,), (0, 4), (-1, 4), (4, 2.5), (4, None), (1, 2, 3), [[4, 4]], {}, 1.5, NAN)
_SIDES = one_of(None, "ab", (), (0, 4), (-1, 4), (4, 2.5), (1, 2, 3), [[4, 4]], {}, 1.5, NAN, 0, -3, True)
_SEED = one_of(-1, 1.5, "1", None, [], True, -(2**40), NAN, Opaque, 1j)
_LEVEL = one_of(0, 1, -0.5, 2, NAN, INF, "0.95", None, [], True, 1j, Opaque)
_UPSAMPLER = either(NAMES, one_of("usu_continuous", "Bilinear"))


def find_and_use(upsampler: Any, coarse: Any = COARSE, scores: Any = DENSE, **setting: Any) -> Any:
    """Find an upsampler and call it."""
    return usu.find_upsampler(upsampler, **setting)(coarse, scores)


def similarity(embedding: Any, scale: Any = 1.0, outputs: Any = None) -> Any:
    """Make a similarity and call it."""
    return Similarity(embedding, scale)(np.ones((2, 5)) if outputs is None else outputs)


def tokens_cells(output: Any = None, **layout: Any) -> Any:
    """Make a layout and take cells by it."""
    return usu.Tokens(**layout).cells(output)


_RIDGE = one_of(-0.1, NAN, INF, "1", None, [], 1j, True, Opaque)
_COORDINATE = one_of(None, "1", [], {}, 1j, Opaque, NAN, INF, 1e9)
_SIDE = one_of(None, "1", [], {}, 1j, Opaque, 0, -1, 2.5, NAN)
_CONTINUOUS = {"coarse": FLOATS, "scores": SCORES, "segments": LABELS, "ndim": WHOLE, **OPERATOR}
_PASSES = {"passes": either(COUNT, one_of(1, 0, -7))}

SUBJECTS: dict[str, Subject] = {
    "redistribute": Subject(
        usu.redistribute,
        {"coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {
            "coarse": FLOATS,
            "scores": SCORES,
            "segments": LABELS,
            "negative": NAMES,
            "ndim": WHOLE,
            **OPERATOR,
        },
    ),
    "iwmr": Subject(
        usu.iwmr,
        {"coarse": SIGNAL, "scores": DENSE, "neighbourhoods": REGIONS},
        {"coarse": FLOATS, "scores": SCORES, "neighbourhoods": MAPS, "importance_temperature": NUMBER}
        | {"prior": NAMES, "ndim": WHOLE, **OPERATOR},
    ),
    "interpolate": Subject(
        usu.interpolate,
        {"coarse": COARSE, "size": (12, 16), "mode": "bicubic"},
        {"coarse": FLOATS, "size": SIZE, "mode": NAMES},
    ),
    "h_map": Subject(usu.h_map, {"scores": DENSE}, {"scores": FLOATS, "kernel": NAMES}),
    "segment": Subject(
        usu.segment,
        {"image": IMAGE, "counts": (4, 16), "method": "quadtree"},
        {
            "image": IMAGES,
            "counts": either(SIZE, one_of((4, 4), (9, 3), (4, 10**9), (INF,))),
            "method": NAMES,
        },
    ),
    "Hierarchy": Subject(usu.Hierarchy, {"levels": LEVEL_MAPS}, {"levels": LEVELS_BAD}),
    "check_desiderata": Subject(
        usu.check_desiderata,
        {"upsampler": "usu", "coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {"upsampler": either(NAMES, PIXELS), "coarse": FLOATS, "scores": SCORES, "segments": LABELS}
        | {"importance_temperature": NUMBER, "seed": one_of(-1, 1.5, "1", None, 2**32, [], True), **OPERATOR},
    ),
    "error_maps": Subject(
        usu.error_maps,
        {"attribution": DENSE, "truth": TRUTH},
        {"attribution": FLOATS, "truth": either(FLOATS, one_of(DENSE[:5], DENSE.T))},
    ),
    "mass_errors": Subject(
        usu.mass_errors,
        {"attribution": DENSE, "truth": TRUTH, "neighbourhoods": (3, 4)},
        {"attribution": FLOATS, "truth": either(FLOATS, one_of(DENSE[:5], DENSE.T))}
        | {"neighbourhoods": either(SIZE, lambda random, good: MAPS(random, SEGMENTS), one_of((13, 4)))},
    ),
    "redistribute, continuous": Subject(
        partial(usu.redistribute, continuous=True),
        {"coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {
            **_CONTINUOUS,
            "negative": NAMES,
            "continuous": FLAG,
            "neighbourhoods": given(either(spoiled(SEGMENTS, MAPS), one_of(REGIONS))),
        },
    ),
    "iwmr, continuous": Subject(
        partial(usu.iwmr, continuous=True),
        {"coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {**_CONTINUOUS, "importance_temperature": given(NUMBER), "prior": NAMES, "continuous": FLAG},
    ),
    "share_total": Subject(
        share_total,
        {"coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {**_CONTINUOUS, "negative": NAMES},
    ),
    "interpolate, conserving": Subject(
        usu.interpolate,
        {"coarse": COARSE, "size": (12, 16), "mode": "conserving"},
        {"coarse": FLOATS, "size": either(SIZE, one_of((2, 16), (12, 3))), "mode": NAMES},
    ),
    "find_upsampler": Subject(
        find_and_use,
        {"upsampler": "hybrid", "coarse": COARSE, "scores": DENSE},
        {
            "upsampler": _UPSAMPLER,
            "coarse": FLOATS,
            "scores": SCORES,
            "mass": NAMES,
            "ndim": WHOLE,
            **_SETTING,
        }
        | {"neighbourhoods": given(spoiled(SEGMENTS, MAPS)), "temprature": one_of(0.1)},
    ),
    "find_upsampler, total": Subject(
        find_and_use,
        {"upsampler": "total-conserving", "coarse": COARSE, "scores": DENSE},
        {"coarse": FLOATS, "scores": SCORES, "mass": NAMES, "ndim": WHOLE, **_SETTING}
        | {"neighbourhoods": one_of(REGIONS, SEGMENTS, "map", 3)},
    ),
    "Hierarchy.from_masks": Subject(
        usu.Hierarchy.from_masks,
        {"masks": _MASKS},
        {
            "masks": either(
                JUNK,
                one_of(
                    [], np.zeros((2, 4, 4), bool), np.ones((4, 4)), _MASKS * 2, [_MASKS[0], _MASKS[1, :5]], 3
                ),
                one_of([{"segmentation": {"size": [3], "counts": "a"}}], [{"area": 3}], {}, [None], NAN),
                spoiled(_MASKS * 1.0, anywhere(0.5)),
            ),
            "background": NAMES,
        },
    ),
    "Tokens": Subject(
        tokens_cells,
        {"grid": (2, 3), "output": torch.arange(7.0).reshape(1, 7, 1), "prefix": 1},
        {
            "grid": one_of(
                None, 3, (), (0, 3), (-1, 2), (1.5, 2), "ab", (1, 2, 3, 4), NAN, [[1, 2]], {}, Opaque
            ),
            "prefix": either(COUNT, one_of(-1, 5)),
            "suffix": either(COUNT, one_of(-1, 5)),
            "order": one_of(
                "diagonal", "", None, 3, (), (0, 1), (0,) * 6, (-1, 0, 1, 2, 3, 4), range(1, 7), ("a",) * 6
            ),
            "axis": one_of(-1, 3, None, "1", 1.5, [], NAN, Opaque),
        },
        ("tokens",),
    ),
    "Similarity": Subject(
        similarity,
        {"embedding": np.ones(5)},
        {
            "embedding": either(FLOATS, one_of(np.zeros(5), np.ones((2, 5)), np.ones(3))),
            "scale": one_of(None, "a", NAN, INF, [], {}, 1j, Opaque, np.ones(3)),
            "outputs": one_of(3, "map", np.ones(5), np.ones((2, 4)), [], {}, np.ones((2, 5), complex)),
        },
        ("output",),
    ),
    "Settings": Subject(
        usu.Settings,
        {},
        {
            **_SETTING,
            "potential": NAMES,
            "ndim": WHOLE,
            "segmentation": given(SEGMENTATION_KIND),
            "score_smoothing": one_of(0, -1, 2, 1.5, NAN, INF, "a", [], 1j, True, Opaque),
            "scoring": NAMES,
            "baselines": one_of("black", "Blur", ""),
            "output": NAMES,
            "rules": one_of(3, "rules", {}, [], None),
        },
    ),
    "Settings.of": Subject(
        usu.Settings.of,
        {},
        {**_SETTING, **RULES, "potential": NAMES, "scoring": NAMES, "temprature": one_of(0.1), **_PASSES},
    ),
    "Rules": Subject(usu.Rules, {}, RULES),
    "Masking": Subject(usu.Masking, {}, {"name": NAMES}, ("scoring",)),
    "Owen": Subject(usu.Owen, {}, _PASSES),
    "Regression": Subject(usu.Regression, {}, _PASSES),
    "Order": Subject(usu.Order, {}, {**_PASSES, "ridge": _RIDGE, "seed": _SEED}),
    "MaskOrder": Subject(usu.MaskOrder, {}, {**_PASSES, "ridge": _RIDGE, "seed": _SEED}),
    "Placement": Subject(
        Placement,
        {"photograph": (20, 30), "network": (12, 16), "box": _PLACE.box, "seen": _PLACE.seen},
        {"photograph": _SIZE2, "network": _SIZE2, "box": _BOX, "seen": either(_BOX, one_of((0, 0, 20, 30)))},
    ),
    "Placement.letterbox": Subject(
        Placement.letterbox,
        {"photograph": (20, 30), "network": 16},
        {"photograph": _SIZE2, "network": _SIDES},
    ),
    "Placement.of": Subject(
        Placement.of,
        {"transform": Resize(8), "photograph": (20, 30)},
        {"photograph": _SIZE2},
    ),
    "Placement.resize": Subject(_PLACE.resize, {"size": (5, 6)}, {"size": _SIZE2}),
    "Placement.crop": Subject(
        _PLACE.crop,
        {"top": 1, "left": 2, "height": 3, "width": 4},
        {"top": _COORDINATE, "left": _COORDINATE, "height": _SIDE, "width": _SIDE},
        ("size", "crop"),
    ),
    "Placement.center_crop": Subject(_PLACE.center_crop, {"size": 8}, {"size": _SIDES}),
    "Placement.pad": Subject(
        _PLACE.pad,
        {"left": 1, "top": 1, "right": 1, "bottom": 1},
        {
            name: one_of(None, "1", [], {}, 1j, Opaque, 0.5, NAN)
            for name in ("left", "top", "right", "bottom")
        },
    ),
    "Placement.to_photograph": Subject(
        _PLACE.to_photograph,
        {"attribution": DENSE},
        {"attribution": either(FLOATS, one_of(DENSE.T, DENSE[0])), "padding": NAMES},
    ),
    "Placement.padding_mass": Subject(
        _PLACE.padding_mass,
        {"attribution": DENSE},
        {"attribution": either(FLOATS, one_of(DENSE.T, DENSE[0]))},
    ),
    "make_fill": Subject(
        make_fill,
        {"inputs": torch.from_numpy(INPUTS)[None], "baselines": "blur"},
        {"baselines": FILL},
    ),
    **{
        name: Subject(
            getattr(usu.metrics, name),
            {"attribution": DENSE, "truth": TRUTH},
            {"attribution": FLOATS, "truth": _TRUTH},
        )
        for name in (
            *("iou_area", "iou_half", "iou_best", "pointing_game", "relevance_mass_accuracy"),
            *("alpha_total", "beta_total"),
        )
    },
    "band_error": Subject(
        usu.metrics.band_error,
        {"attribution": DENSE, "truth": (TRUTH > 0.5) * 1.0},
        {"attribution": FLOATS, "truth": _TRUTH, "width": either(COUNT, one_of(0, -1))},
    ),
    "bootstrap_interval": Subject(
        usu.metrics.bootstrap_interval,
        {"sample": _SAMPLES[0], "resamples": 50},
        {"sample": _SAMPLE, "level": _LEVEL, "resamples": either(COUNT, one_of(0, -5)), "seed": _SEED},
    ),
    "bootstrap_intervals": Subject(
        usu.metrics.bootstrap_intervals,
        {"samples": _SAMPLES, "resamples": 50},
        {"samples": either(FLOATS, one_of(_SAMPLES[0], _SAMPLES[:, :1])), "level": _LEVEL}
        | {"resamples": either(COUNT, one_of(0, -5)), "seed": _SEED},
    ),
    "paired_test": Subject(
        usu.metrics.paired_test,
        {"values": _SAMPLES[0], "reference": _SAMPLES[1], "resamples": 50},
        {"values": _SAMPLE, "reference": either(_SAMPLE, one_of(_SAMPLES[1, :5])), "level": _LEVEL}
        | {"resamples": either(COUNT, one_of(0, -5)), "seed": _SEED},
    ),
    "correct": Subject(
        usu.metrics.correct,
        {"p_values": [0.01, 0.2]},
        {
            "p_values": either(
                JUNK, one_of([], 0.1, [1.5], [-0.1], [NAN], [[0.1]], ["a"], [None], [1j], np.ones((2, 2)) / 2)
            )
        },
    ),
    "find_source": Subject(
        find_source, {"source": "gradcam"}, {"source": given(either(NAMES, one_of("given", "gradient")))}
    ),
    "Rise": Subject(
        Rise,
        {},
        {
            "cells": either(COUNT, one_of(0, 1, -3)),
            "masks": either(COUNT, one_of(0, 1, -3)),
            "shown": one_of(0, 1, -0.1, 2, NAN, INF, "0.5", None, [], 1j, Opaque),
            "output": NAMES,
            "perturbations_per_eval": either(COUNT, one_of(0, -3)),
            "seed": _SEED,
        },
    ),
}
