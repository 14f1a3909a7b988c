"""Random problems for the operators: any lattice, dtype, temperature, potential and magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

import usu
from benchmarks.robustness.references import Labels, Values, grid_labels, utility

Random: TypeAlias = np.random.Generator

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
DTYPES |= {"float64": torch.float64}
# Decades of the masses: what the type holds, with room for a cell's pixels.
DECADES = {
    "float16": (-1.0, 2.0),
    "bfloat16": (-30.0, 30.0),
    "float32": (-30.0, 30.0),
    "float64": (-30.0, 30.0),
}
ON_ANY_CELLS = ("usu", "iwmr", "hybrid", "nearest")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "conserving")
_SHARES = {
    "usu": 0.26,
    "iwmr": 0.12,
    "hybrid": 0.14,
    "total-conserving": 0.12,
    "usu-continuous": 0.1,
    "nearest": 0.06,
    "bilinear": 0.05,
    "bicubic": 0.05,
    "lanczos": 0.05,
    "conserving": 0.05,
}
_MOST = {1: (9, 60), 2: (4, 12), 3: (3, 6)}  # cells and pixels along an axis


def bowl(scores: Tensor) -> Tensor:
    """Serve as a potential that is neither named nor monotone, on floats and tensors alike."""
    return 0.5 + (scores - 0.25) ** 2


@dataclass(frozen=True)
class Problem:
    """A call of an upsampler by name, on the values that its dtypes hold exactly.

    Attributes:
        name: of `usu.UPSAMPLERS`.
        shape: of the grid; (K,) of regions.
        size: of the lattice.
        owner: the cell of each pixel, (X,).
        coarse: (*batch, *shape) in the caller's kind and dtype.
        scores: (*batch, *size), or (*batch, P) with `segments`.
        segments: (*size) or None.
        regions: whether the cells are regions.
        setting: keyword arguments of `usu.find_upsampler`.
    """

    name: str
    shape: tuple[int, ...]
    size: tuple[int, ...]
    owner: Labels
    coarse: Any
    scores: Any
    segments: Any = None
    regions: bool = False
    setting: dict[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """Of the coarse map, and so of the result."""
        return str(self.coarse.dtype).removeprefix("torch.")

    @property
    def narrow(self) -> str:
        """The least precise of the dtypes of map and scores, by which a residual is judged."""
        order = ["bfloat16", "float16", "float32", "float64"]
        if self.name in INTERPOLATIONS:
            return self.dtype
        return min(self.dtype, str(self.scores.dtype).removeprefix("torch."), key=order.index)

    @property
    def continuous(self) -> bool:
        """Whether the factor of φ is continuous."""
        return self.name in ("usu-continuous", "conserving") or self.setting.get("continuous", False)

    @property
    def count(self) -> int:
        """Number of the cells."""
        return math.prod(self.shape)

    def maps(self) -> list[tuple[Values, Values]]:
        """Return coarse values (K,) and dense scores (X,) of each map of the batch, in float64."""
        coarse, scores = plain(self.coarse), plain(self.scores)
        ndim = len(self.size)
        if self.name in INTERPOLATIONS:  # scores give the size alone
            scores = np.zeros(self.size)
        batch = np.broadcast_shapes(
            coarse.shape[: -len(self.shape)], scores.shape[: -1 if self.segments is not None else -ndim]
        )
        coarse = np.broadcast_to(coarse, (*batch, *self.shape)).reshape(-1, self.count)
        if self.segments is not None:
            scores = scores[..., plain(self.segments).astype(np.int64)]
        scores = np.broadcast_to(scores, (*batch, *self.size)).reshape(len(coarse), -1)
        return list(zip(coarse, scores, strict=True))

    def masses(self, coarse: Values) -> Values:
        """Return M_k of one map."""
        if self.setting["mass"] == "total":
            return coarse
        return coarse * np.bincount(self.owner, minlength=self.count)

    def solve(self) -> Any:
        """Return what usu makes of it; with segments by the operator itself, else by the name."""
        neighbourhoods = self.owner.reshape(self.size) if self.regions else None
        setting = dict(self.setting, ndim=len(self.size))
        if self.segments is None:
            find = usu.find_upsampler(self.name, neighbourhoods=neighbourhoods, **setting)
            return find(self.coarse, self.scores)
        setting.pop("importance_temperature") if self.name not in ("iwmr", "hybrid") else None
        if self.name in ("iwmr", "hybrid"):
            setting.pop("negative")
            prior = "area" if self.name == "iwmr" else "mass"
            given = {"neighbourhoods": neighbourhoods, "prior": prior, **setting}
            return usu.iwmr(self.coarse, self.scores, self.segments, **given)
        if self.name == "total-conserving":
            setting.pop("continuous")
            return usu.share_total(self.coarse, self.scores, self.segments, **setting)
        setting["continuous"] = self.continuous
        return usu.redistribute(
            self.coarse, self.scores, self.segments, neighbourhoods=neighbourhoods, **setting
        )

    def levels(self, scores: Values) -> tuple[Values, float]:
        """Return u(s) of dense scores (X,), and what divides it."""
        if self.name in INTERPOLATIONS:
            return np.zeros_like(scores), 1.0
        return utility(self.setting["potential"], scores, self.setting["temperature"])

    def elsewhere(self, cell: int, random: Random) -> Problem:
        """Return the problem with other values and scores everywhere outside one cell."""
        inside = np.arange(self.count).reshape(self.shape) == cell
        low, high = DECADES[self.dtype]
        other = random.normal(size=self.coarse.shape).clip(-3, 3) * 10 ** random.uniform(low / 2, high / 2)
        coarse = cast(np.where(inside, plain(self.coarse), other), self.coarse)
        if self.segments is not None:
            return replace(self, coarse=coarse)
        here = (self.owner == cell).reshape(self.size)
        scores = np.where(here, plain(self.scores), random.random(self.scores.shape))
        return replace(self, coarse=coarse, scores=cast(scores, self.scores))


def plain(values: Any) -> Values:
    """Return an array or tensor in float64 NumPy."""
    if isinstance(values, Tensor):
        return values.detach().double().numpy()
    found: Values = np.asarray(values, dtype=np.float64)
    return found


def cast(values: Values, like: Any) -> Any:
    """Return values in the kind and dtype of `like`."""
    if isinstance(like, Tensor):
        return torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype)
    return values.astype(like.dtype)


def draw(random: Random) -> Problem:
    """Draw a problem of one to three dimensions."""
    name = str(random.choice(list(_SHARES), p=list(_SHARES.values())))
    ndim = int(random.choice([1, 2, 3], p=[0.25, 0.55, 0.2]))
    most_cells, most_pixels = _MOST[ndim]
    shape = tuple(int(random.integers(1, most_cells + 1)) for _ in range(ndim))
    size = tuple(int(random.integers(cells, most_pixels + 1)) for cells in shape)
    setting = draw_setting(random)
    regions = name in ON_ANY_CELLS and random.random() < 0.25
    if regions or name not in ("usu", "iwmr", "hybrid"):
        setting["continuous"] = False
    owner, count = grid_labels(shape, size), math.prod(shape)
    if regions:
        extra = random.integers(count, size=math.prod(size) - count)
        owner, shape = random.permutation(np.concatenate([np.arange(count), extra])), (count,)
    dtype = str(random.choice(list(DTYPES), p=[0.15, 0.15, 0.35, 0.35]))
    batch, scores_batch = draw_batches(random)
    coarse = draw_coarse(random, (*batch, *shape), dtype)
    segmented = name not in INTERPOLATIONS and random.random() < 0.4
    segments = random.integers(int(random.integers(1, 9)), size=size) if segmented else None
    table = (int(segments.max()) + 1 + int(random.integers(2)),) if segments is not None else size
    scores = random.random((*scores_batch, *table))
    if random.random() < 0.3:
        scores = scores.round(1)  # ties, zeros and ones
    other = str(random.choice(list(DTYPES))) if random.random() < 0.2 else dtype
    as_numpy = "bfloat16" not in (dtype, other) and random.random() < 0.5
    coarse, scores = (give(*pair, as_numpy) for pair in ((coarse, dtype), (scores, other)))
    if segments is not None and not as_numpy:
        segments = torch.from_numpy(segments)
    return Problem(name, shape, size, owner, coarse, scores, segments, regions, setting)


def draw_setting(random: Random) -> dict[str, Any]:
    """Draw the keyword arguments of an upsampler."""
    return {
        "temperature": 10 ** random.uniform(-4, 4),
        "importance_temperature": None if random.random() < 0.3 else 10 ** random.uniform(-4, 4),
        "potential": [*["exponential"] * 4, "power", "log-odds", bowl][random.integers(7)],
        "mass": ["density", "total"][random.integers(2)],
        "negative": ["same", "opposite"][random.integers(2)],
        "continuous": bool(random.random() < 0.15),
    }


def draw_batches(random: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw batch axes of map and scores that broadcast."""
    pairs = [((), ()), ((2,), (2,)), ((2,), ()), ((), (2,)), ((2, 1), (3,)), ((1, 2), (1, 2))]
    return pairs[int(random.choice(len(pairs), p=[0.6, 0.12, 0.1, 0.1, 0.04, 0.04]))]


def draw_coarse(random: Random, shape: tuple[int, ...], dtype: str) -> Values:
    """Draw values of one magnitude or of all, of one sign or of both, with zeros among them or without."""
    low, high = DECADES[dtype]
    if random.random() < 0.5:
        values = (random.random(shape) + 0.05) * 10 ** random.uniform(low, high)
    else:
        values = 10 ** random.uniform(low, high, shape)
    kind = random.random()
    if kind < 0.5:
        values = values * random.choice([-1, 1], shape)
    elif kind < 0.6:
        values = -values
    if random.random() < 0.3:
        values = values * (random.random(shape) < 0.6)
    return values


def give(values: Values, dtype: str, as_numpy: bool) -> Any:
    """Return values as an array or a tensor of a dtype."""
    return values.astype(dtype) if as_numpy else torch.from_numpy(values).to(DTYPES[dtype])


def draw_even(random: Random) -> Problem:
    """Draw a problem of equal scores on cells of four pixels a side at least, for continuity (D5)."""
    name = str(random.choice(["usu-continuous", "conserving", "total-conserving", "bilinear"]))
    ndim = int(random.choice([1, 2], p=[0.3, 0.7]))
    shape = tuple(int(random.integers(1 + (axis == 0), 5)) for axis in range(ndim))
    size = tuple(int(random.integers(4 * cells, 6 * cells + 1)) for cells in shape)
    dtype = str(random.choice(list(DTYPES), p=[0.15, 0.15, 0.35, 0.35]))
    # Of one magnitude: between cells that differ by decades a slope is as steep as a jump.
    values = (random.random(shape) + 0.2) * 10 ** random.uniform(*DECADES[dtype])
    values *= random.choice([-1, 1], shape) if random.random() < 0.5 else 1
    values *= random.random(shape) < 0.8 if random.random() < 0.3 else 1
    coarse = give(values, dtype, False)
    setting = dict(draw_setting(random), continuous=False, potential="exponential")
    scores = torch.full(size, 0.5, dtype=coarse.dtype)
    return Problem(name, shape, size, grid_labels(shape, size), coarse, scores, None, False, setting)
