"""How a ratio is measured, as benches/src/harness.rs does it: blocks in the
order A B B A, the median of the ratios of neighbours, a bootstrap interval.

Invariant: only rows leave this folder, in the form of benches/src/report.rs.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import Any

#: Pairs of blocks in one comparison.
PAIRS = 30
RESAMPLES = 2_000

#: One block of work; what one operation cost, or how many came a second.
Block = Callable[[], float]


def row(
    metric: str, peer_name: str, ours: Block, peer: Block, bar: dict[str, float] | None = None, pairs: int = PAIRS
) -> dict[str, Any]:
    """Ours over the peer's."""
    measured = compare(ours, peer, pairs)
    ratios = [mine / theirs for mine, theirs in measured]
    low, high = bootstrap(ratios)
    return {
        "id": "P5",
        "metric": metric,
        "ours": statistics.median(mine for mine, _ in measured),
        "peer": statistics.median(theirs for _, theirs in measured),
        "peer_name": peer_name,
        "ratio": statistics.median(ratios),
        "ci_low": low,
        "ci_high": high,
        "n": len(ratios),
        **({} if bar is None else {"bar": bar}),
    }


def compare(ours: Block, peer: Block, pairs: int) -> list[tuple[float, float]]:
    ours()
    peer()
    measured: list[tuple[float, float]] = []
    while len(measured) < pairs:
        measured.append((ours(), peer()))
        theirs = peer()
        measured.append((ours(), theirs))
    return measured


def bootstrap(values: list[float]) -> tuple[float, float]:
    """95 % of the medians of resamples lie in this interval."""
    chance = random.Random(len(values))
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40 - 1]
