"""How far a map stays the same when what should not matter changes, and changes when what matters does.

    python -m benchmarks.scores.stability DATA --out ROWS [--images 24] [--half choosing]

Rank correlations of band-limited maps (a Gaussian of 6 pixels at 224), with the map of the photograph as it
is: with another seed; from a start at 0 (scores by order only); of the photograph moved by 8 pixels, on the
pixels that both show; and of the photograph after JPEG at quality 50. And of what should differ: the map of
another class, and of the network with the rows of its last layer shuffled among the classes. One line per
photograph is added to `--out`; `--images 0` only prints the table.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from tqdm import tqdm

import usu
from benchmarks.scores.order import FILTER, Asked, by_both, by_order
from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.scores.score_tables import HALVES, line
from usu.bench.methods import peers
from usu.metrics.faithfulness.curves import band_limited
from usu.models.compiled import quickened
from usu.models.loading import load_classifier

SHIFT, QUALITY = 8, 50
Map = Callable[[Asked, int], Tensor]


def order_scores(asked: Asked, seed: int, ridge: float = 1.0) -> Tensor:
    """Return scores by order."""
    return asked.scores(usu.Order(seed=seed, ridge=ridge))


MAPS: dict[str, Map] = {
    "bilinear": lambda asked, seed: peers.interpolation(asked, "gradcam", "bilinear"),
    "masking": lambda asked, seed: asked.scores("mask"),
    "SHAP partition 160": lambda asked, seed: peers.shap_partition(asked, 160),
    "RISE 160": lambda asked, seed: peers.rise(asked, 160),
    "order": order_scores,
    "order, ridge 0.3": lambda asked, seed: order_scores(asked, seed, ridge=0.3),
    "strict USU, order": lambda asked, seed: asked.usu(order_scores(asked, seed), 0.2),
    "total, mask+order": lambda asked, seed: by_both(asked, "total", seed=seed),
    "total, order filtered": lambda asked, seed: by_order(asked, "total", filtered=FILTER, seed=seed),
}


def from_zero(asked: Asked) -> Tensor:
    """Return scores by order that know no coarse map."""
    record = usu.upsample(
        torch.zeros(1, 1),
        asked.inputs,
        asked.model,
        asked.target,
        images=asked.picture,
        mode="usu",
        scoring="order",
    )
    return torch.as_tensor(record.score_map)


def moved(photograph: Photograph) -> Photograph:
    """Return a photograph moved down and right, its border mirrored."""

    def move(image: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(image[None], (SHIFT, 0, SHIFT, 0), mode="reflect")[0]
        return padded[:, : image.shape[1], : image.shape[2]].contiguous()

    return replace(photograph, inputs=move(photograph.inputs), picture=move(photograph.picture))


def compressed(photograph: Photograph) -> Photograph:
    """Return a photograph after JPEG; the network's normalisation is a line, found from its pixels."""
    file = io.BytesIO()
    to_pil_image(photograph.picture).save(file, "JPEG", quality=QUALITY)
    picture = pil_to_tensor(Image.open(file)).to(photograph.picture) / 255
    difference = picture - photograph.picture
    spreads = photograph.inputs.std((1, 2)) / photograph.picture.std((1, 2))
    return replace(
        photograph, picture=picture, inputs=photograph.inputs + difference * spreads[:, None, None]
    )


def shuffled(model: nn.Module) -> nn.Module:
    """Return a copy whose last linear layer gives each class the weights of another one."""
    found = copy.deepcopy(model)
    last = [part for part in found.modules() if isinstance(part, nn.Linear)][-1]
    mixed = torch.randperm(len(last.weight), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last.weight.copy_(last.weight[mixed])
        if last.bias is not None:
            last.bias.copy_(last.bias[mixed])
    return found


def agreement(one: Tensor, other: Tensor) -> float:
    """Return the rank correlation of two maps (H, W) after the Gaussian."""
    smooth = [band_limited(each.double().numpy()[None])[0].ravel() for each in (one, other)]
    return float(spearmanr(*smooth).statistic)


def measure(
    photograph: Photograph, networks: tuple[nn.Module, nn.Module], mixed: nn.Module
) -> dict[str, dict[str, float]]:
    """Return the rank correlations of each map by what was changed."""
    other_class = (photograph.target + 500) % 1000

    def ask(own: Photograph = photograph, model: tuple[nn.Module, nn.Module] = networks) -> Asked:
        return Asked(own, *model)

    changed = {
        "moved": ask(moved(photograph)),
        "JPEG": ask(compressed(photograph)),
        "other class": ask(replace(photograph, target=other_class)),
        "other weights": ask(model=(mixed, mixed)),
    }
    plain = ask()
    rows: dict[str, dict[str, float]] = {}
    for name, make in MAPS.items():
        base = make(plain, 0)
        again = ask()
        again.seed = 1
        rows[name] = {"seed": agreement(base, make(again, 1))}
        if name == "order":
            rows[name]["start at 0"] = agreement(base, from_zero(plain))
        for what, asked in changed.items():
            values = make(asked, 0)
            if what == "moved":
                rows[name][what] = agreement(base[:-SHIFT, :-SHIFT], values[SHIFT:, SHIFT:])
            else:
                rows[name][what] = agreement(base, values)
    return rows


def table(path: Path) -> str:
    """Return the mean rank correlations, ± standard error."""
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    columns = ("seed", "start at 0", "moved", "JPEG", "other class", "other weights")
    lines = [line("map", "photographs", *columns), "|---" * (2 + len(columns)) + "|"]
    for name in MAPS:
        cells = []
        for column in columns:
            values = [row["maps"][name][column] for row in rows if column in row["maps"][name]]
            error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
            cells.append(f"{np.mean(values):.2f} ± {error:.2f}" if values else "")
        lines.append(line(name, len(rows), *cells))
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, then print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=24, help="number of photographs, of both halves")
    parser.add_argument("--half", choices=HALVES, default="choosing")
    parser.add_argument("--out", type=Path, required=True, help="file of rows")
    arguments = parser.parse_args()
    classifier = load_classifier("efficientnet-lite0")
    quick = quickened(classifier.model, torch.rand(3, *classifier.prepare.crop))
    mixed = shuffled(classifier.model)
    texts = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    known = {json.loads(text)["photograph"] for text in texts}
    chosen = photographs(arguments.data, classifier, arguments.images)
    for position, photograph in enumerate(tqdm(chosen, total=arguments.images, desc="photographs")):
        if HALVES[position % 2] != arguments.half or photograph.name in known:
            continue
        found = measure(photograph, (classifier.model, quick), mixed)
        rounded = {name: {key: round(r, 4) for key, r in row.items()} for name, row in found.items()}
        with arguments.out.open("a") as file:
            file.write(json.dumps({"photograph": photograph.name, "maps": rounded}) + "\n")
    print(table(arguments.out))


if __name__ == "__main__":
    main()
