"""Other people's maps, at stated numbers of forward passes: the methods that ours are compared with."""

from __future__ import annotations

from functools import partial

from benchmarks.scores.tasks import Method
from usu.bench.methods import peers

PEERS: dict[str, Method] = {
    "nearest": partial(peers.interpolation, source="gradcam", mode="nearest"),
    "bilinear": partial(peers.interpolation, source="gradcam", mode="bilinear"),
    "guided filter": partial(peers.guided_filter, source="gradcam"),
    "RISE 160": partial(peers.rise, passes=160),
    "KernelShap 160": partial(peers.surrogate, method="KernelShap", passes=160),
    "Lime 160": partial(peers.surrogate, method="Lime", passes=160),
    "SHAP partition 160": partial(peers.shap_partition, passes=160),
}
# Measured only when named: they take minutes per photograph and compete at other prices.
DEAR: dict[str, Method] = {
    "RISE 1600": partial(peers.rise, passes=1600),
    "SHAP partition 1000": partial(peers.shap_partition, passes=1000),
    "XRAI": peers.xrai,
}
