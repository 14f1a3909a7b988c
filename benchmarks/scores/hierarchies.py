"""Trees that segments can be divided along, and what Owen values reach on each with a budget.

    python -m benchmarks.scores.hierarchies DATA [--images 24] [--half choosing]

For each tree, a mean over photographs: how deep its segments lie, the depth that a balanced tree of as many
would have, and at 40, 80 and 160 passes the number of players reached and the share of the image that the
largest tenth of them still covers. Which tree scores best is told by `benchmarks/scores`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import usu
from benchmarks.scores.photographs import photographs
from benchmarks.scores.score_tables import HALVES
from benchmarks.scores.tasks import Task
from usu.models.compiled import quickened
from usu.models.loading import load_classifier
from usu.segmentation.methods import cut
from usu.segmentation.tree import Tree

HALVINGS = (2, 4, 8, 16, 32, 64, 128)
# Of trees that are cut once, into this many segments, which are then halved by position.
FINE = (256,)
# Superpixels that the network's features merge, as many as `usu.segment` takes for 256 segments.
SUPERPIXELS = 512
# The last layer of EfficientNet-Lite0 with cells of 16 pixels.
LAYER = "_blocks.10"
BUDGETS = (40, 80, 160)

Segmentation = Mapping[str, tuple[int, ...]] | usu.Hierarchy
Counts = tuple[int, ...]


def by_volume(task: Task, counts: Counts) -> usu.Hierarchy:
    """Return the watershed hierarchy by volume on the Lab gradient; higra's, as the one by area."""
    import higra

    colours = _lab(task)
    graph = higra.get_4_adjacency_graph(colours.shape[:2])
    edges = higra.weight_graph(graph, colours, higra.WeightFunction.L2)
    tree, _ = higra.watershed_hierarchy_by_volume(graph, edges, canonize_tree=False)
    return _levels(tree, counts, _pixels(colours))


def mumford_shah(task: Task, counts: Counts) -> usu.Hierarchy:
    """Return the partition tree of the piecewise constant Mumford-Shah energy of Lab colour, from pixels."""
    import higra

    colours = _lab(task)
    graph = higra.get_4_adjacency_graph(colours.shape[:2])
    tree, _ = higra.binary_partition_tree_MumfordShah_energy(graph, colours)
    return _levels(tree, counts, _pixels(colours))


def by_features(task: Task, counts: Counts) -> usu.Hierarchy:
    """Return Ward's tree of SLIC superpixels on what the network itself makes of them; one pass."""
    import higra
    from captum.attr import LayerActivation

    network = task.model.model
    with torch.no_grad():
        grid = LayerActivation(network, network.get_submodule(LAYER)).attribute(task.inputs[None])
    task.model.passes += 1
    features = usu.interpolate(grid[0], task.size, "bilinear").flatten(1)
    superpixels = usu.segment(task.picture, (SUPERPIXELS,), "slic").levels[0]
    areas = torch.bincount(superpixels.flatten()).double()
    sums = features.new_zeros(len(features), len(areas), dtype=torch.float64)
    means = sums.index_add_(1, superpixels.flatten(), features.double()) / areas
    pixels = higra.get_4_adjacency_graph(task.size)
    graph = higra.make_region_adjacency_graph_from_labelisation(pixels, superpixels.numpy())
    tree, _ = higra.binary_partition_tree_ward_linkage(graph, means.T.numpy(), areas.numpy())
    return _levels(tree, counts, superpixels.numpy())


def _lab(task: Task) -> np.ndarray[Any, Any]:
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(task.picture.permute(1, 2, 0).numpy()))


def _pixels(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.arange(colours.shape[0] * colours.shape[1]).reshape(colours.shape[:2])


def _levels(tree: Any, counts: Counts, leaves: Any) -> usu.Hierarchy:
    """Cut a tree whose leaves are numbered `leaves` (H, W) into nested label maps."""
    return usu.Hierarchy(tuple(cut(tree, count)[leaves] for count in counts))


_BUILT: dict[str, Callable[[Task, Counts], usu.Hierarchy]] = {
    "watershed by volume": by_volume,
    "Mumford-Shah": mumford_shah,
    "features": by_features,
}

# By name, what gives `usu.upsample` its segmentation: numbers of segments of each level by segmenter, or a
# function of the task. Trees of a single level are halved by position.
TREES: dict[str, Segmentation | Callable[[Task], usu.Hierarchy]] = {
    "slic": {"slic": HALVINGS},
    "watershed": {"watershed": HALVINGS},
    "quadtree": {"quadtree": (*HALVINGS, 256, 512)},
    "halved slic": {"slic": FINE},
    "halved watershed": {"watershed": FINE},
    "slic, quadtree": {"slic": HALVINGS, "quadtree": (*HALVINGS, 256)},
    "slic, watershed": {"slic": HALVINGS, "watershed": HALVINGS},
    "slic, watershed, quadtree": {"slic": HALVINGS, "watershed": HALVINGS, "quadtree": (*HALVINGS, 256)},
    **{name: partial(built, counts=HALVINGS) for name, built in _BUILT.items()},
    **{f"halved {name}": partial(built, counts=FINE) for name, built in _BUILT.items()},
}


def segmentation(task: Task, tree: str) -> Segmentation:
    """Return what `usu.upsample` takes for a tree of `TREES`."""
    found = TREES[tree]
    return found(task) if callable(found) else found


def hierarchy(task: Task, tree: str) -> usu.Hierarchy:
    """Return a tree of `TREES` that is a single one as the hierarchy that it is grown on."""
    found = segmentation(task, tree)
    if isinstance(found, usu.Hierarchy):
        return found
    ((segmenter, counts),) = found.items()
    built: usu.Hierarchy = usu.segment(task.picture, counts, segmenter)
    return built


def even_map(task: Task, wanted: Segmentation, passes: int) -> usu.Explanation:
    """Return a complete map whose players share their values evenly, since no pixel is told from another."""
    found: usu.Explanation = usu.upsample(
        np.zeros((1, 1), dtype=np.float32),
        task.inputs,
        task.model,
        task.target,
        mode="complete",
        images=task.picture,
        segmentation=wanted,
        scoring="owen",
        passes=passes,
    )
    return found


def reached(task: Task, tree: str) -> list[float]:
    """Return the mean depth of a tree's segments, a balanced tree's, and per budget what players remain."""
    wanted = hierarchy(task, tree)
    depths = _depths(Tree(wanted))
    row = [float(np.mean(depths)), float(np.log2(len(depths)))]
    for passes in BUDGETS:
        found = even_map(task, wanted, passes)
        areas = np.sort(np.bincount(np.asarray(found.neighbourhoods).ravel()))[::-1]
        row += [len(areas), float(areas[: -(-len(areas) // 10)].sum() / areas.sum())]
    return row


def _depths(tree: Tree) -> list[int]:
    """Return the number of divisions above each of a tree's segments."""
    depths, waiting = [], [(0, 0)]
    while waiting:
        node, depth = waiting.pop()
        children = tree.children[node]
        if children is None:
            depths.append(depth)
        else:
            waiting += [(child, depth + 1) for child in children]
    return depths


def main() -> None:
    """Print one row per single tree."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=24, help="number of photographs, of both halves")
    parser.add_argument("--half", choices=HALVES, default="choosing")
    arguments = parser.parse_args()
    classifier = load_classifier("efficientnet-lite0")
    quick = quickened(classifier.model, torch.rand(3, *classifier.prepare.crop))
    single = [tree for tree, found in TREES.items() if callable(found) or len(found) == 1]
    rows: dict[str, list[list[float]]] = {tree: [] for tree in single}
    chosen = photographs(arguments.data, classifier, arguments.images)
    for position, photograph in enumerate(tqdm(chosen, total=arguments.images, desc="photographs")):
        if HALVES[position % 2] == arguments.half:
            for tree in single:
                rows[tree].append(reached(Task(photograph, classifier.model, quick, {}.__getitem__), tree))
    budgets = "".join(f" players, {passes} passes | largest tenth |" for passes in BUDGETS)
    print(f"| tree | photographs | depth | if balanced |{budgets}")
    print("|---|---|---|---|" + "---|---|" * len(BUDGETS))
    for tree, found in rows.items():
        means = np.mean(found, axis=0)
        cells = [f"{means[0]:.1f}", f"{means[1]:.1f}"]
        cells += [f"{means[i]:.0f} | {means[i + 1]:.0%}" for i in range(2, len(means), 2)]
        print(f"| {tree} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
