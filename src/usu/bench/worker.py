"""What a benchmark does with one image: the maps of all contestants, judged by all metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from usu.bench.datasets.files import Dataset, Item
from usu.bench.datasets.registry import find_dataset
from usu.bench.methods.image import Subject
from usu.bench.methods.registry import CONTESTANTS, PixelMap
from usu.bench.networks import Network, load_network
from usu.bench.results.folder import WEIGHTS, Row
from usu.bench.results.schema import NO_SOURCE, Cell
from usu.metrics import METRICS, Judge
from usu.models.compiled import Compiled, quickened
from usu.record import library_versions
from usu.settings import Settings

# By default a GPU rounds convolutions to TF32, whose three decimal digits drown the change by a few pixels,
# and adds up in a varying order.
_single_precision = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


@dataclass(frozen=True)
class Spec:
    """What all jobs of a run have in common; can be pickled."""

    dataset: str  # name in `DATASETS`
    folder: str  # where the data set is, on every machine that works
    # Files by model, for networks whose weights are not in a package.
    weights: Mapping[str, str] = field(default_factory=dict)
    # Fields of `usu.Settings` that differ from its defaults.
    settings: Mapping[str, Any] = field(default_factory=dict)
    positive: bool = False  # whether negative values of coarse maps are set to 0, for every upsampler alike
    seed: int = 0  # of the choice of images and of everything random, from 0 to 2**32 - 1

    def protocol(
        self, upsamplers: Iterable[str], metrics: Iterable[str], weights: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return how rows are measured, as values that JSON can hold; `weights` are hashes by model."""
        return {
            "dataset": self.dataset,
            "seed": self.seed,
            "positive": self.positive,
            "settings": Settings.of(**self.settings).plain(),
            "upsamplers": {name: dict(CONTESTANTS[name].settings) for name in upsamplers},
            "metrics": {name: dict(METRICS[name].settings) for name in metrics},
            WEIGHTS: dict(weights),
        }


@dataclass(frozen=True)
class Job:
    """One image and one model."""

    image: str  # name in the data set
    model: str  # name of the network
    wanted: tuple[tuple[str, str, str], ...]  # (source, upsampler, metric) of each row that is missing


def combinations(
    sources: Sequence[str], upsamplers: Sequence[str], metrics: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return (source, upsampler, metric) of all rows of an image and a model.

    A method that needs no coarse map is judged once, whatever the sources.

    >>> combinations(["gradcam", "hirescam"], ["usu", "constant"], ["road"])
    [('gradcam', 'usu', 'road'), ('hirescam', 'usu', 'road'), ('none', 'constant', 'road')]
    """
    return [
        (source, upsampler, metric)
        for upsampler in upsamplers
        for source in (sources if CONTESTANTS[upsampler].sourced else (NO_SOURCE,))
        for metric in metrics
    ]


class Worker:
    """Does the jobs of a run. Keeps one network at a time, on the GPU if there is one."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network: Network | None = None
        self._quick: nn.Module | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return find_dataset(self.spec.dataset, self.spec.folder)

    @cached_property
    def _items(self) -> dict[str, Item]:
        return {item.name: item for item in self.dataset.items}

    def network(self, name: str) -> Network:
        """Return a network, loaded unless the previous job had it."""
        if self._network is None or self._network.name != name:
            self._network = load_network(name, self.spec.weights.get(name), self.device)
            self._quick = None
        return self._network

    def quick(self, network: Network, inputs: Tensor) -> nn.Module:
        """Return the network's function for passes without gradients."""
        if self._quick is None:
            self._quick = quickened(network.classifier.model, inputs)
        return self._quick

    @_single_precision
    def predicted(self, network: Network, item: Item) -> tuple[Tensor, Tensor, int, float]:
        """Return an image's inputs and picture, and the predicted class with its probability."""
        inputs, picture = network.classifier.prepare(self.dataset.open(item))
        inputs, picture = inputs.to(self.device), picture.to(self.device)
        with torch.no_grad():
            probability, target = network.classifier.model(inputs[None]).softmax(1)[0].max(0)
        return inputs, picture, int(target), float(probability)

    @_single_precision
    def work(self, job: Job) -> list[Row]:
        """Return the rows that a job asks for; the predicted class is explained.

        Raises:
            ValueError: an image that is damaged or a map that cannot be made, named.
            OSError: the image cannot be read.
        """
        network, item = self.network(job.model), self._items[job.image]
        inputs, picture, target, probability = self.predicted(network, item)
        quick = self.quick(network, inputs)
        subject = Subject(
            network.classifier.model,
            inputs,
            picture,
            target,
            quick=quick,
            settings=dict(self.spec.settings),
            positive=self.spec.positive,
            seed=self.spec.seed,
        )
        judge = Judge(quick, inputs, target, image=picture, seed=self.spec.seed)
        keys = dict.fromkeys((source, upsampler) for source, upsampler, _ in job.wanted)
        maps = {key: _draw(subject, *key) for key in keys}
        versions = library_versions() | (quick.versions if isinstance(quick, Compiled) else {})
        if inputs.is_cuda:
            versions["cuda"] = f"{torch.version.cuda} on {torch.cuda.get_device_name(inputs.device)}"
        common = {
            "dataset": self.spec.dataset,
            "image": job.image,
            "image_hash": self.dataset.image_hash(item),
            "label": item.label,
            "target": target,
            "probability": probability,
            "model": job.model,
            "weights_hash": network.weights_hash,
            "seed": self.spec.seed,
            "versions": json.dumps(versions, sort_keys=True),
        }
        facts = {key: _facts(made, key, self.spec) for key, made in maps.items()}
        settings = {
            name: json.dumps(dict(metric.settings), sort_keys=True) for name, metric in METRICS.items()
        }
        return [
            {**common, **facts[key], "metric": name, "metric_settings": settings[name], "value": value}
            for key, name, value in _judge(judge, maps, job.wanted)
        ]


def _draw(subject: Subject, source: str, upsampler: str) -> PixelMap:
    try:
        return CONTESTANTS[upsampler].draw(subject, source)
    except (ValueError, RuntimeError) as problem:
        raise ValueError(f"{upsampler} on {source}: {problem}") from problem


def _judge(
    judge: Judge, maps: Mapping[tuple[str, str], PixelMap], wanted: Sequence[tuple[str, str, str]]
) -> list[tuple[tuple[str, str], str, float]]:
    """Judge all maps together, metric by metric, so that they share forward passes; NaN if not finite."""
    finite = {key for key, made in maps.items() if made.finite}
    found = []
    for metric in dict.fromkeys(metric for *_, metric in wanted):
        keys = [(source, upsampler) for source, upsampler, name in wanted if name == metric]
        sound = [key for key in keys if key in finite]
        found += [(key, metric, math.nan) for key in keys if key not in finite]
        if sound:
            values = METRICS[metric].measure(judge, torch.stack([maps[key].values for key in sound]))
            found += [(key, metric, value) for key, value in zip(sound, values.tolist(), strict=True)]
    return found


def _facts(made: PixelMap, key: tuple[str, str], spec: Spec) -> Row:
    source, upsampler = key
    contestant = CONTESTANTS[upsampler]
    scoring = Settings.of(**spec.settings).plain() if contestant.configured else {}
    settings = {**scoring, **contestant.settings}
    return {
        "source": source,
        "upsampler": upsampler,
        "upsampler_settings": json.dumps(settings, sort_keys=True),
        "total_mass": float(made.values.sum()),
        "d1_error": made.d1_error,
        "d1_relative": made.d1_relative,
        "forward_passes": made.cost.passes,
        "seconds": made.cost.seconds,
    }


def missing(
    images: Sequence[str],
    models: Sequence[str],
    rows: Sequence[tuple[str, str, str]],
    done: Iterable[Cell],
) -> list[Job]:
    """Return the jobs that are left, grouped by model."""
    known: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for cell in done:
        known.setdefault((cell.image, cell.model), set()).add(cell[2:])
    everything = tuple(rows)  # one object for all images without rows
    jobs = []
    for model, image in product(models, images):
        have = known.get((image, model))
        wanted = everything if have is None else tuple(row for row in rows if row not in have)
        if wanted:
            jobs.append(Job(image, model, wanted))
    return jobs
