"""Where the cells of the image lie in a layer's output: which axis, which tokens, in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Where the image's cells lie in the output of a layer, for models whose layout usu does not find.

    Attributes:
        grid: (rows, columns) of cells; (cells,) along a signal, (slices, rows, columns) in a volume.
        prefix: tokens before the patches, such as a class token and registers.
        suffix: tokens after them, such as the detection tokens of YOLOS.
        order: "rows" if the patches lie row by row, "columns", or for each cell, counted row by row, its
            place among the tokens after the prefix.
        axis: of the tokens: 1 in (B, N, C), 0 in (N, B, C), 2 in (B, C, N). In an output with an axis for
            each of the grid's the first of these: 2 in (B, C, h, w), 1 in (B, h, w, C).

    Raises:
        ValueError: a field out of its range.
        TypeError: counts that are not integers.

    >>> Tokens((2, 3), prefix=1).cells(torch.arange(7.0).view(1, 7, 1))[0, 0]
    tensor([[1., 2., 3.],
            [4., 5., 6.]])
    """

    grid: tuple[int, ...]
    prefix: int = 0
    suffix: int = 0
    order: str | Sequence[int] = "rows"
    axis: int = 1

    def __post_init__(self) -> None:
        given = tuple(self.grid) if isinstance(self.grid, Sequence) else ()
        if len(given) not in (1, 2, 3) or not all(isinstance(side, Integral) and side > 0 for side in given):
            raise ValueError(f"grid must be (rows, columns), both at least 1, got {self.grid!r}")
        object.__setattr__(self, "grid", tuple(int(side) for side in given))
        for name in ("prefix", "suffix"):
            count = getattr(self, name)
            if not isinstance(count, Integral) or isinstance(count, bool):
                raise TypeError(f"{name} must be a number of tokens, got {count!r}")
            if count < 0:
                raise ValueError(f"{name} must be at least 0, got {count}")
        if self.axis not in (0, 1, 2):
            raise ValueError(f"axis must be 0, 1 or 2, got {self.axis!r}")
        if not isinstance(self.order, str):
            if not isinstance(self.order, Sequence) or not all(isinstance(p, Integral) for p in self.order):
                raise TypeError(f"order must be 'rows', 'columns' or places of tokens, got {self.order!r}")
            object.__setattr__(self, "order", tuple(int(place) for place in self.order))
        self._check_order()

    def _check_order(self) -> None:
        if isinstance(self.order, str):
            if self.order not in ("rows", "columns") or (self.order == "columns" and len(self.grid) != 2):
                raise ValueError(f"order must be 'rows', 'columns' or places of tokens, got {self.order!r}")
            return
        cells, highest = math.prod(self.grid), math.prod(self.grid) + self.suffix
        if len(set(self.order)) != cells or len(self.order) != cells:
            raise ValueError(f"order must give each of {cells} cells a place of its own")
        if min(self.order) < 0 or max(self.order) >= highest:
            raise ValueError(f"order must hold places from 0 to {highest - 1}, got {max(self.order)}")

    def __len__(self) -> int:
        """Return how many tokens there are in all."""
        return self.prefix + math.prod(self.grid) + self.suffix

    @property
    def places(self) -> Tensor:
        """The token of each cell, (gh·gw,), cells counted row by row."""
        if self.order == "rows":
            found = torch.arange(math.prod(self.grid))
        elif self.order == "columns":
            rows, columns = self.grid
            found = torch.arange(rows * columns).view(columns, rows).T.flatten()
        else:
            found = torch.tensor(self.order)
        return self.prefix + found

    @property
    def batch_axis(self) -> int:
        """The axis of the images."""
        return 1 if self.axis == 0 else 0

    def is_plain(self, shape: Sequence[int]) -> bool:
        """Return whether an output of this shape is (B, C, *grid) as it stands."""
        return self.axis == 2 and self.order == "rows" and tuple(shape[2:]) == self.grid

    def _spreads(self, rank: int) -> bool:
        """Return whether an output of so many axes has one for each of the grid's."""
        return rank == len(self.grid) + 2 > 3 and self.axis > 0

    def fits(self, shape: Sequence[int], images: int) -> bool:
        """Return whether an output of this shape, for so many images, has these tokens."""
        if self._spreads(len(shape)):
            return shape[0] == images and tuple(shape[self.axis : self.axis + len(self.grid)]) == self.grid
        return len(shape) == 3 and shape[self.batch_axis] == images and shape[self.axis] == len(self)

    def in_rows(self, output: Tensor) -> Tensor:
        """Return a layer's output as (B, N, C), tokens in the layer's own order.

        Raises:
            ValueError: an output of another number of axes.
        """
        if self._spreads(output.dim()):
            return output.flatten(self.axis, self.axis + len(self.grid) - 1).movedim(self.axis, 1)
        if output.dim() != 3:
            raise ValueError(f"tokens with axis={self.axis} do not fit an output {tuple(output.shape)}")
        return output.movedim((self.batch_axis, self.axis), (0, 1))

    def cells(self, output: Tensor) -> Tensor:
        """Return the cells (B, C, *grid) of a layer's output.

        Raises:
            ValueError: an output of another number of axes or tokens.
        """
        if self.is_plain(output.shape):
            return output
        rows = self.in_rows(output)
        if rows.shape[1] != len(self):
            raise ValueError(
                f"tokens must add up to the layer's {rows.shape[1]}: got prefix {self.prefix} + "
                f"{' × '.join(map(str, self.grid))} + suffix {self.suffix} = {len(self)}"
            )
        chosen = rows[:, self.places.to(rows.device)]
        return chosen.movedim(1, 2).reshape(len(chosen), -1, *self.grid)

    @classmethod
    def at(cls, places: Tensor, count: int, grid: tuple[int, ...], axis: int) -> Tokens:
        """Return the layout whose cells, counted row by row, lie at `places` of `count` tokens."""
        first, cells = int(places.min()), math.prod(grid)
        plain = cls(grid, prefix=first, suffix=count - first - cells, axis=axis)
        for order in ("rows", "columns") if len(grid) == 2 else ("rows",):
            found = replace(plain, order=order)
            if torch.equal(found.places, places.cpu()):
                return found
        return replace(plain, order=tuple((places - first).tolist()))
