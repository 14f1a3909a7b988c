"""The source that is taken where none is named, by the kind of network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from usu.models.contexts import counted
from usu.models.targets import Target
from usu.models.tokens import Tokens
from usu.sources.attention import UndefinedError
from usu.sources.coarse_map import CoarseMap
from usu.sources.registry import find_source, told
from usu.sources.rollout import attention_relevance


def by_kind(
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    *,
    tokens: Tokens | None = None,
    run: int | None = None,
) -> CoarseMap:
    """Return attention relevance for networks that attend among all tokens, Grad-CAM for all others.

    A layer asks for Grad-CAM, and signals and volumes take it, too. For the arguments and the errors see
    `usu.sources.find_source` and `usu.explain`; docs/sources.md says what this choice was measured by.
    """
    tried: list[int] = []
    if layer is None and inputs.dim() == 4 and _may_attend(model):
        try:
            with counted(model, inputs.dtype) as tried:
                return attention_relevance(model, inputs, targets, None, tokens=tokens, run=run)
        except UndefinedError:
            pass  # attention within windows, say
    found = told(find_source("gradcam"), tokens=tokens, run=run)(model, inputs, targets, layer)
    spent = sum(tried) // len(inputs)
    return replace(found, forward_passes=tuple(spent + own for own in found.forward_passes))


def _may_attend(model: nn.Module) -> bool:
    """Return whether a module is an attention by the name of its class; a look that needs no pass."""
    return any(re.search("attention|attn", type(part).__name__, re.IGNORECASE) for part in model.modules())
