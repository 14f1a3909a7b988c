"""Old spellings: accepted, told of by a warning that names the new one, and the same in what they do."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.models import Classifier
from usu.plot import comparison, overlay_figure
from usu.report import Entry
from usu.runtime.renames import renamed

INPUTS = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(16).reshape(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
NAMES = tuple("abcde")
FEW = {"segmentation": {"quadtree": (4,)}}


def explained(**options):
    return usu.explain(small_cnn(), INPUTS, **FEW, **options)


def scored(**options):
    return usu.score_segments(small_cnn(), INPUTS, LABELS, 1, **options).raw_scores


def title(figure):
    return figure.get_suptitle()


CALLS = {
    "classes": lambda **named: explained(target="b", **named).attribution,
    "method of explain": lambda **named: explained(target=1, **named).attribution,
    "method of score_segments": scored,
    "method of refine": lambda **named: (
        usu.refine(small_cnn(), INPUTS, usu.Hierarchy([LABELS]), 1, **named).score_map
    ),
    "method of find_upsampler": lambda **named: usu.find_upsampler(**named)([[1.0, 2.0]], [[0.5] * 4]),
    "category of a figure": lambda **named: title(overlay_figure(explained(target=1), **named)),
    "category of a comparison": lambda **named: title(
        comparison(explained(target=1), {"usu": explained(target=1).attribution}, **named)
    ),
    "category of a page": lambda **named: explained(target=1).to_html(**named),
    "category of an entry": lambda **named: Entry(explained(target=1), verdicts=False, **named).plain()[
        "title"
    ],
    "categories": lambda **named: Classifier("small", small_cnn(), None, **named).class_names,
}
SPELLINGS = [
    ("classes", {"classes": NAMES}, {"class_names": NAMES}),
    ("method of explain", {"method": "keep"}, {"scoring": "keep"}),
    ("method of score_segments", {"method": "keep"}, {"scoring": "keep"}),
    ("method of refine", {"method": "keep"}, {"scoring": "keep"}),
    ("method of find_upsampler", {"method": "bilinear"}, {"upsampler": "bilinear"}),
    ("category of a figure", {"category": "tabby"}, {"class_name": "tabby"}),
    ("category of a comparison", {"category": "tabby"}, {"class_name": "tabby"}),
    ("category of a page", {"category": "tabby"}, {"class_name": "tabby"}),
    ("category of an entry", {"category": "tabby"}, {"class_name": "tabby"}),
    ("categories", {"categories": NAMES}, {"class_names": NAMES}),
]


@pytest.mark.parametrize(("call", "old", "new"), SPELLINGS, ids=[name for name, *_ in SPELLINGS])
def test_an_old_keyword_is_told_of_and_does_the_same(call, old, new):
    expected = CALLS[call](**new)
    (former,), (present,) = old, new
    with pytest.warns(DeprecationWarning, match=f"{former} is now {present}"):
        found = CALLS[call](**old)
    assert found == expected if isinstance(expected, str | tuple) else np.array_equal(found, expected)


def test_an_old_scoring_is_told_of():
    with pytest.warns(DeprecationWarning, match="scoring='random' is now scoring='regression'"):
        found = scored(scoring="random", passes=20)
    assert torch.equal(found, scored(scoring="regression", passes=20))


def test_the_papers_word_for_a_potential_is_no_old_name():
    named = [usu.redistribute([[1.0]], [[0.1, 0.9]], potential=name) for name in ("tensor", "exponential")]
    assert np.array_equal(*named)


def test_an_old_attribute_is_told_of():
    classifier = Classifier("small", small_cnn(), None, NAMES)
    with pytest.warns(DeprecationWarning, match="class_names"):
        assert classifier.categories == NAMES


def test_the_warning_points_at_the_callers_line():
    @renamed(old="new")
    def function(new):
        return new

    with pytest.warns(DeprecationWarning, match="old is now new") as told:
        assert function(old=3) == 3
    assert told[0].filename == __file__


def test_both_spellings_at_once_are_refused():
    with pytest.raises(TypeError, match="method is the old name of scoring"):
        scored(method="mask", scoring="keep")
