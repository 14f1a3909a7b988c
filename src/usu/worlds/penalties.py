"""The λ at which the penalty of eq. 22 serves its purpose: nearly all gradient inside the foreground."""

from __future__ import annotations

from typing import Any

from usu.worlds.training import TrainedNetwork, trained

TRIED = (1.0, 10.0, 100.0, 1000.0, 10000.0)
LEAST = 0.95

# For shapes; `python -m usu.worlds` searches, and prints the λ found beside the one that is recorded here.
PENALTIES = {"cnn": 1.0, "mlp": 1000.0, "vit": 1.0}


def find_penalty(name: str, *, least: float = LEAST, **options: Any) -> TrainedNetwork:
    """Train with λ = 1, 10, 100, … and return the first network that is right for the right reasons.

    That is one with at least `least` of its gradient inside the foreground, and at least `least` accuracy,
    both on the validation scenes; the test scenes play no part. If no λ achieves both, it is the network with
    the largest share inside among those with the accuracy; if none has the accuracy, the most accurate one.

    Takes further arguments of `trained`, and raises what it does.
    """
    tried = []
    for penalty in TRIED:
        network = trained(name, penalty, **options)
        if network.validation.inside >= least and network.validation.accuracy >= least:
            return network
        tried.append(network)
    return max(
        tried, key=lambda network: (min(network.validation.accuracy, least), network.validation.inside)
    )
