"""How a map is computed, as one frozen record; docs/defaults.md gives the reason for each default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, cast

from usu.arrays.checks import as_number, check_choice, check_flag
from usu.models.baselines import Baselines, check_baselines
from usu.models.targets import Output, find_link, name_of
from usu.operators.arguments import check_temperature
from usu.operators.potentials import Potential, check_potential
from usu.operators.redistribution import Negative
from usu.operators.registry import MODES
from usu.runtime.renames import renamed
from usu.scoring.refinement import Rules
from usu.scoring.registry import Scoring, find_scoring, options_of
from usu.segmentation.hierarchy import Hierarchy
from usu.segmentation.methods import SEGMENTERS_OF, check_method, suited

# Where a mode's defaults differ from those of `Settings`; docs/scores.md has the reasons.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "total-conserving": {"score_smoothing": 1 / 56},
    "complete": {"scoring": "owen", "negative": "opposite", "temperature": 1.0},
}
_RULES = tuple(item.name for item in fields(Rules))
# The settings that upsamplers share: keyword arguments of `usu.find_upsampler`.
UPSAMPLING = ("temperature", "importance_temperature", "potential", "negative", "continuous")


@dataclass(frozen=True)
class Settings:
    """The options of `usu.upsample` and `usu.explain` besides the model and its inputs.

    Attributes:
        ndim: 1 for signals, inputs (C, L); 2 for pictures; 3 for volumes, inputs (C, D, H, W).
        temperature: ε > 0, within cells.
        importance_temperature: ε_Λ > 0, between cells (modes "iwmr" and "hybrid"); `temperature` if None.
        potential: φ, by name or a callable.
        negative: "same" or "opposite", for cells of negative mass (mode "usu").
        continuous: no jump at the cells' borders, with every cell's mass kept as without (modes "usu", "iwmr"
            and "hybrid"; see `usu.redistribute`).
        segmentation: numbers of segments by method, {"watershed": (16, 64)}: one hierarchy for each; the
            score maps of several are averaged. Or your own `Hierarchy`, or a list of them (for a batch: one
            such entry per image). None is what suits the scoring best: three partitions for scores by order,
            many scales for masking, one fine level, halved where values are large, for Owen values and random
            coalitions. In signals, change points stand in for superpixels.
        score_smoothing: radius of the guided filter that removes edges of segments from the score map which
            the picture does not have, as a part of the picture's shorter side (1/56: 4 of 224 pixels, the
            default of mode "total-conserving"); None for none.
        scoring: how segments are scored: "mask", "keep", "both", "owen", "regression", "order" or
            "mask+order", or a scoring with its own settings, such as `usu.Owen(passes=300)`. If none is named
            "order", but "mask" for what has no gradients and where rules of refinement are given, and "owen"
            in mode "complete".
        baselines: what replaces masked pixels.
        output: what is scored: the target's "probability" (the softmax of the outputs, or these themselves if
            they already are probabilities), "softmax", "sigmoid" (multi-label, or one logit), "given" (the
            outputs, which are probabilities), "logit" (the outputs as they are) or a callable.
        rules: of refinement.

    Raises:
        ValueError: a value out of its range or an unknown name.
        TypeError: a value of the wrong kind.
    """

    ndim: int = 2
    temperature: float = 0.2
    importance_temperature: float | None = None
    potential: Potential = "exponential"
    negative: Negative = "same"
    continuous: bool = False
    segmentation: Mapping[str, Sequence[int]] | Hierarchy | Sequence[Any] | None = None
    score_smoothing: float | None = None
    scoring: str | Scoring = "order"
    baselines: Baselines = "blur"
    output: Output = "probability"
    rules: Rules = field(default_factory=Rules)

    @classmethod
    @renamed(method="scoring")
    def of(cls, **options: Any) -> Settings:
        """Make settings from keyword arguments, including the fields of `Rules` and of the scoring.

        >>> Settings.of(temperature=0.2, mixing="segment").rules.mixing
        'segment'
        """
        known = {item.name for item in fields(cls)} | {*_RULES, "passes"}
        unknown = sorted(options.keys() - known)
        if unknown:
            raise TypeError(f"unknown setting {unknown[0]!r}; settings are {', '.join(sorted(known))}")
        rules = {name: options.pop(name) for name in _RULES if name in options}
        if rules and "rules" in options:
            raise TypeError(f"rules and {next(iter(rules))} exclude each other: give one or the other")
        if rules:
            options["rules"] = Rules(**rules)
        if "passes" in options:
            options["scoring"] = find_scoring(
                options.get("scoring", cls.scoring), passes=options.pop("passes")
            )
        return cls(**options)

    def __post_init__(self) -> None:
        if isinstance(self.ndim, bool) or self.ndim not in tuple(SEGMENTERS_OF):
            raise ValueError(
                f"ndim must be 1 for signals, 2 for pictures or 3 for volumes, got {self.ndim!r}"
            )
        for name in ("temperature", "importance_temperature"):
            given = getattr(self, name)
            if given is not None or name == "temperature":
                object.__setattr__(self, name, check_temperature(given, name))
        object.__setattr__(self, "potential", check_potential(self.potential))
        check_choice(self.negative, ("same", "opposite"), "negative")
        check_flag(self.continuous, "continuous")
        if self.score_smoothing is not None:
            part = as_number(self.score_smoothing, "score_smoothing")
            if not 0 < part <= 1:
                raise ValueError(
                    f"score_smoothing must be a part of the picture's side in (0, 1], got {part!r}; try 1/56"
                )
            object.__setattr__(self, "score_smoothing", part)
        object.__setattr__(self, "scoring", find_scoring(self.scoring))
        check_baselines(self.baselines)
        find_link(self.output)
        if not isinstance(self.rules, Rules):
            raise TypeError(f"rules must be usu.Rules, got {type(self.rules).__name__}")
        if self.ndim != 2 and self.rules.kernel == "diagonal":
            raise ValueError(
                "kernel='diagonal' is for 2-D only, a mixed difference of rows and columns: take 'gradient'"
            )
        if self.segmentation is None:
            own = self.way.segmentation
            object.__setattr__(self, "segmentation", own if self.ndim == 2 else suited(own, self.ndim))
        if isinstance(self.segmentation, Mapping):
            if not self.segmentation:
                raise ValueError("segmentation must name at least one method")
            for name in self.segmentation:
                if name not in {one for methods in SEGMENTERS_OF.values() for one in methods}:
                    raise ValueError(
                        f"segmentation must name methods of {SEGMENTERS_OF[self.ndim]}, got {name!r}"
                    )
                check_method(name, self.ndim, "segmentation")
        elif not isinstance(self.segmentation, Hierarchy | Sequence) or isinstance(
            self.segmentation, str | bytes
        ):
            kind = type(self.segmentation).__name__
            raise TypeError(
                "segmentation must be a mapping such as {'slic': (16, 64)}, a Hierarchy or a list of them, "
                f"got {kind}"
            )

    @property
    def way(self) -> Scoring:
        """The scoring, found by its name."""
        return cast(Scoring, self.scoring)

    @property
    def redistribution(self) -> dict[str, Any]:
        """The settings of the upsampler, as keyword arguments of `usu.find_upsampler`."""
        return {name: getattr(self, name) for name in UPSAMPLING}

    def plain(self) -> dict[str, Any]:
        """Return the settings as values that JSON can hold, see `as_plain`."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "rules"}
        values.update(scoring=self.way.name, **options_of(self.way))
        values.update({name: getattr(self.rules, name) for name in _RULES})
        return {name: as_plain(value) for name, value in values.items()}


def as_plain(value: Any) -> Any:
    """Return a setting as a value that JSON can hold; a callable as its name with brackets, "bowl()"."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Hierarchy):
        return {value.method: list(value.counts)}
    if isinstance(value, Mapping):
        return {str(name): as_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(part) for part in value]
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    # Brackets, so that it is never mistaken for the name of something built in.
    return f"{name_of(value)}()" if callable(value) else type(value).__name__


def mode_of(mode: str | None, settings: Mapping[str, Any], on_grid: bool = True) -> str:
    """Return the mode; if None, what suits the settings and the cells of the coarse map."""
    if mode is not None:
        return mode
    return "total-conserving" if on_grid and "continuous" not in settings else "usu"


def settings_of(mode: str, settings: Mapping[str, Any]) -> Settings:
    """Return all settings of a mode, with its defaults.

    Raises:
        ValueError: an unknown mode, a setting out of its range, or one that does not fit the mode.
        TypeError: a setting that is unknown or of the wrong kind.
    """
    check_choice(mode, MODES, "mode")
    flat = settings.get("ndim", 2) == 2 or "rules" in settings
    kernel = {} if flat else {"kernel": "gradient"}  # the paper's is a difference of rows and columns
    refined = {} if settings.keys().isdisjoint({"rules", *_RULES}) else {"scoring": "mask"}
    options = Settings.of(**{**refined, **_DEFAULTS.get(mode, {}), **kernel, **settings})
    if mode == "complete":
        for name, found, needed in (
            ("scoring", options.way.name, "owen"),
            ("negative", options.negative, "opposite"),
        ):
            if found != needed:
                raise ValueError(
                    f"mode='complete' is made of Owen values of both signs: it needs {name}={needed!r}, not "
                    f"{found!r}"
                )
    return options
