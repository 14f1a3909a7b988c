"""Rows of results as pandas frames: means over images with intervals, paired comparisons with their tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.labels import FACTS, SCALINGS, TITLES
from usu.metrics.faithfulness.labels import LABELS
from usu.metrics.statistics import bootstrap_intervals, correct, paired_test

SECTION = ["dataset", "model", "source"]
KEYS = [*SECTION, "contestant", "measure"]
_OURS = {"upsampler": "contestant", "metric": "measure"}  # what columns of rows are called here
_PROVENANCE = {"metric": "metric_settings", "upsampler": "upsampler_settings", "model": "weights_hash"}

# (challenger, reference): ours against interpolation; controls and peers.
COMPARED = (
    *product(("usu", "iwmr", "hybrid", "total-conserving", "complete"), ("nearest", "bilinear")),
    ("usu", "scores"),
    ("usu", "shuffled-scores"),
    ("usu", "random-segments"),
    ("hybrid", "guided"),
    ("complete", "shap-partition"),
    ("guided", "bilinear"),
)
LEVEL = 0.05  # below which a corrected p-value names the better one
_PAIR = [*SECTION, "measure", "challenger", "reference"]
_TEST = ["n", "left_out", "difference", "low", "high", "cohens_d", "rank_biserial", "p_value"]


@dataclass(frozen=True, eq=False)
class Study:
    """All rows of a table."""

    # The columns of `KEYS`, each an ordered category in the paper's order, "image" and "value", sorted. A
    # measure is a metric or one of `FACTS`.
    values: pd.DataFrame
    # By "metric", "upsampler" and "model", what each name stood for: its settings, or the hashes of its
    # weights; several where rows differ.
    provenance: Mapping[str, Mapping[str, tuple[str, ...]]]
    versions: tuple[str, ...]  # of the software, as the rows have them

    @cached_property
    def sections(self) -> pd.DataFrame:
        """The data set, network and source of each section: no source where there is nothing else."""
        every = self.values[SECTION].drop_duplicates()
        without = every.source == NO_SOURCE
        return every[
            ~without | (without.groupby([every.dataset, every.model], observed=True).transform("all"))
        ]

    def averages(self, contestants: Collection[str], measures: Collection[str]) -> pd.DataFrame:
        """Return means over images with 95 % BCa intervals, a row for each of `KEYS` that was measured.

        Maps that need no coarse map stand beside those of every source.

        Returns:
            "mean", "largest", "low" and "high", NaN where there are too few values for them; "n" images, and
            "left_out", those without a finite value.
        """
        chosen = self.values.contestant.isin(contestants) & self.values.measure.isin(measures)
        rows = self.values[chosen]
        finite = rows.value.where(np.isfinite(rows.value))
        groups = rows.assign(value=finite).groupby(KEYS, observed=True).value
        found = groups.agg(mean="mean", largest="max", n="count")
        found["left_out"] = groups.size() - found.n
        found[["low", "high"]] = np.nan
        samples = np.split(finite.dropna().to_numpy(), found.n.cumsum())[:-1]
        # A mean's bootstrap needs only how often each value was drawn: alike for all samples of one size.
        for n, alike in found.groupby("n").indices.items():
            if n > 1:
                intervals = bootstrap_intervals(np.stack([samples[place] for place in alike]))
                found.iloc[alike, [-2, -1]] = [(one.low, one.high) for one in intervals]
        return self._beside_each_source(found.reset_index()).sort_values(KEYS, ignore_index=True)

    def _beside_each_source(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Put what is said of maps of no source into every section of their network."""
        without = frame.source == NO_SOURCE
        spread = frame[without].drop(columns="source").merge(self.sections, on=["dataset", "model"])
        return pd.concat([frame[~without], spread])

    @cached_property
    def paired(self) -> pd.DataFrame:
        """A row for each metric and image, a column for each contestant: NaN: no row; ∞: no finite value."""
        metrics = self._beside_each_source(self.values[self.values.measure.isin(LABELS)])
        finite = metrics.value.where(np.isfinite(metrics.value), np.inf)
        index = [*SECTION, "measure", "image", "contestant"]
        return metrics.assign(value=finite).set_index(index).value.unstack("contestant")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """All paired comparisons, corrected together: a row for each section, metric and pair measured.

        "challenger" against "reference" on "n" images, "left_out" those without a value of both:
        "difference", the mean of challenger - reference, of infidelities of the logarithm of their ratio,
        with "low" and "high"; the effect sizes; the p-value as it is, by "holm" and by "bonferroni"; and
        "better", who is by the ranks where Holm's is below `LEVEL`, else "". Two maps that need no coarse
        map, which stand beside those of several sources, are compared once.
        """
        sourceless = self.values[self.values.source == NO_SOURCE][["dataset", "model", "contestant"]]
        everywhere = set(sourceless.drop_duplicates().itertuples(index=False, name=None))
        found, done = [], set()
        for at, rows in self.paired.groupby([*SECTION, "measure"], observed=True):
            dataset, model, _, metric = at
            columns = dict(zip(rows.columns, rows.to_numpy().T, strict=True))
            for pair in COMPARED:
                once = (dataset, model, metric, *pair)
                if once in done or not columns.keys() >= {*pair}:
                    continue
                one = compare(*map(columns.get, pair), log_ratio=(metric in SCALINGS))
                if one["n"] + one["left_out"]:
                    found.append(dict(zip(_PAIR, (*at, *pair), strict=True)) | one)
                    if all((dataset, model, name) in everywhere for name in pair):
                        done.add(once)
        frame = _corrected(pd.DataFrame(found, columns=[*_PAIR, *_TEST]))
        return frame.astype({key: self.values[key].dtype for key in (*SECTION, "measure")})

    @property
    def tests(self) -> int:
        """Number of tests that were run."""
        return int(self.comparisons.p_value.notna().sum())

    def changes(self, metric: str, variant: str) -> pd.DataFrame:
        """Return how a metric changes from bilinear to a variant, by source of the coarse map.

        Means over the images of each network of which every source of the data set has both maps, then over
        networks, each weighing the same.

        Returns:
            a row for each "dataset" and "source": means "before" and "after", their "factor", "n" images over
            all networks, "left_out", and "models", those that stand behind the means.
        """
        pair = ["bilinear", variant]
        there = self.paired.reindex(columns=pair).dropna()
        there = there[there.index.get_level_values("measure") == metric].droplevel("measure")
        found = [_change(rows, *pair) for _, rows in there.groupby("dataset", observed=True)]
        columns = ["dataset", "source", "before", "after", "factor", "n", "left_out", "models"]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _change(rows: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """Return `Study.changes` of one data set's rows by (dataset, model, source, image)."""
    finite = np.isfinite(rows).all(axis=1)
    shared = rows[finite].unstack("source").dropna(axis=1, how="all").dropna()
    by_model = shared.groupby(["dataset", "model"], observed=True).mean()
    found = by_model.groupby("dataset", observed=True).mean().stack(future_stack=True)
    found = found.rename(columns={before: "before", after: "after"})
    found["factor"] = found.before / found.after.where(found.after != 0)
    models = by_model.index.get_level_values("model")
    missed = ~finite[rows.index.isin(models, "model")]
    counts = {"n": len(shared), "left_out": missed.groupby(["dataset", "source"], observed=True).sum()}
    return found.assign(**counts, models=[tuple(models)] * len(found)).reset_index()


def compare(values: Any, reference: Any, *, log_ratio: bool) -> dict[str, float]:
    """Return what a comparison of two maps on the same images has of `Study.comparisons`, before correction.

    Values (images,) are NaN where there is no row, infinite where a row has no finite value; with `log_ratio`
    logarithms are compared, and what has none is left out.
    """
    there = ~(np.isnan(values) | np.isnan(reference))
    usable = there & np.isfinite(values) & np.isfinite(reference)
    if log_ratio:
        usable &= (values > 0) & (reference > 0)
    first, second = values[usable], reference[usable]
    if log_ratio:
        first, second = np.log(first), np.log(second)
    n = len(first)
    found: dict[str, float] = {"n": n, "left_out": int(there.sum()) - n}
    if n:
        found["difference"] = float((first - second).mean())
    if n > 1:
        test = paired_test(first, second)
        found |= {name: getattr(test, name) for name in ("cohens_d", "rank_biserial", "p_value")}
        found |= {"low": test.difference.low, "high": test.difference.high}
    return found


def _corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Add p-values corrected for all the tests of a frame, null results among them, and who is better."""
    tested = frame.p_value.notna()
    corrections = correct(frame.p_value[tested].to_numpy(float)) if tested.any() else []
    for name in ("holm", "bonferroni"):
        frame.loc[tested, name] = [getattr(one, name) for one in corrections]
    higher = frame.measure.map({name: words.higher_is_better for name, words in LABELS.items()})
    ahead = frame.challenger.where((frame.rank_biserial > 0) == higher, frame.reference)
    frame["better"] = ahead.where(frame.holm < LEVEL, "")
    return frame


def study_of(rows: pa.Table) -> Study:
    """Sort rows (see `usu.bench.results.schema.SCHEMA`); their order does not matter.

    Raises:
        ValueError: a column is missing, or two rows measure the same.
    """
    names = ["dataset", "model", "source", "upsampler", "metric", "image"]
    needed = {*names, *FACTS, "value", "versions", *_PROVENANCE.values()}
    if missing := sorted(needed - set(rows.column_names)):
        raise ValueError(f"rows must have the columns of a results folder, {', '.join(missing)} missing")
    frame = rows.select(sorted(needed)).to_pandas(strings_to_categorical=True)
    twice = frame.duplicated(names)
    if twice.any():
        cell = frame.loc[twice.idxmax(), names]
        words = ", ".join(f"{key} {name!r}" for key, name in cell.items())
        raise ValueError(f"rows must measure each thing once, found twice: {words}")
    told = {key: frame[[key, name]].astype(str).drop_duplicates() for key, name in _PROVENANCE.items()}
    provenance = {
        key: {name: tuple(sorted(own.iloc[:, 1])) for name, own in pairs.groupby(key)}
        for key, pairs in told.items()
    }
    return Study(_long(frame.rename(columns=_OURS)), provenance, tuple(sorted(frame.versions.unique())))


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the values of a study: metrics and the facts of each map below each other."""
    frame = frame.astype(dict.fromkeys((*KEYS, "image"), str))
    frame = frame.sort_values([*KEYS, "image"])
    # Each row of a map tells the same of it.
    maps = frame.drop(columns="value").drop_duplicates([*SECTION, "contestant", "image"])
    facts = maps.melt([*SECTION, "contestant", "image"], list(FACTS), "measure")
    long = pd.concat([frame[[*KEYS, "image", "value"]], facts], ignore_index=True).astype({"value": float})
    for key in KEYS:
        present = set(long[key].unique())
        order = [*(name for name in TITLES[key] if name in present), *sorted(present - set(TITLES[key]))]
        long[key] = pd.Categorical(long[key], order, ordered=True)
    return long.sort_values([*KEYS, "image"], ignore_index=True)
