"""What type checkers know of the first lines: mypy checks this file, and nothing runs it.

One record for an image and a list for a batch; each `ignore` is an error that has to be found.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from typing_extensions import assert_type

import usu

model, tensor = nn.Identity(), torch.zeros(3, 8, 8)
one, several = np.zeros((3, 8, 8)), np.zeros((2, 3, 8, 8))

assert_type(usu.explain(model, one), usu.Explanation)
assert_type(usu.explain(model, one, "cat", source="rise"), usu.Explanation)
assert_type(usu.explain(model, several), list[usu.Explanation])
assert_type(usu.explain(model, several, 3, temperature=0.1), list[usu.Explanation])
assert_type(usu.explain(model, tensor[None], [3, 4]), list[usu.Explanation])
assert_type(usu.explain(model, {"pixel_values": tensor[None]}, ["cat"]), list[usu.Explanation])
assert_type(usu.explain(model, tensor, 3), Any)  # its number of axes is not in its type
usu.explain(model, one).save_image("map.png")
usu.explain(model, one, layer=3)  # type: ignore[call-overload]
usu.explain(model, one)[0]  # type: ignore[index]
usu.explain(model, several).show()  # type: ignore[attr-defined]
usu.explain(model, tensor, 1.5)  # type: ignore[call-overload]
