"""Claims C1, C2 and C11a: test accuracies of two networks trained alike, by Welch's test over the seeds both have.

Every network is asked on the whole test set, so that the images are no sample: the verdict is one on this test set.
"""

from collections.abc import Callable

import pandas as pd

from sdnet.experiments.claims.estimates import Requirement, welch
from sdnet.results.select import select

AS_ACCURATE, LITTLE = -0.3, -0.5
"""Points of accuracy that a network may be below another one and be as accurate (C1), or cost little (C11a)."""


def beside(arch: str, baseline: str, bound: float) -> Callable[[pd.DataFrame], list[Requirement]]:
    """The requirement that a network's accuracy, less that of another one, is above a bound in points."""

    def requires(cells: pd.DataFrame) -> list[Requirement]:
        difference = welch(*(_by_seed(cells, name) for name in (arch, baseline)))
        return [] if difference is None else [Requirement("", difference, bound)]

    return requires


def _by_seed(cells: pd.DataFrame, arch: str) -> "pd.Series[float]":
    """Test accuracy in points."""
    chosen = select(cells, arch=arch, variant="", metric="top1")
    return 100 * chosen[chosen["split"] == "test"].set_index("seed")["value"].astype(float)
