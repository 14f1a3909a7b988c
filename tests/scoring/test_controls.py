"""Controls: scores dealt anew are comparable with the model's only where both are merged by one rule."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.scoring.controls import mean_map, shuffled


def scored(mixing, counts=(4, 16)):
    inputs = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    return usu.upsample(
        torch.ones(4, 4), inputs, small_cnn(), 2, segmentation={"quadtree": counts}, mixing=mixing, mode="usu"
    )


@pytest.mark.parametrize(("mixing", "counts"), [("mean", (4, 16)), ("pixel", (16,)), ("segment", (16,))])
def test_scores_as_they_are_give_the_score_map_again(mixing, counts):
    found = scored(mixing, counts)
    torch.testing.assert_close(mean_map(found, found.scores), found.score_map)
    assert not torch.allclose(shuffled(found, np.random.default_rng(0)), found.score_map)


@pytest.mark.parametrize("mixing", ["pixel", "segment"])
def test_depths_that_were_merged_otherwise_are_refused(mixing):
    with pytest.raises(ValueError, match=f"2 partitions, merged with mixing='{mixing}'"):
        shuffled(scored(mixing), np.random.default_rng(0))
