"""How many images and seeds a difference needs: what the sizes of page 13 can tell, from the spread of rows at hand."""

import pandas as pd
from IPython.display import HTML

from sdnet.experiments.attacks.adversarial import SDNET, robust
from sdnet.experiments.claims.estimates import LEVEL, SEEDS, Estimate
from sdnet.experiments.what_is_lambda.figures import at_one_scale
from sdnet.experiments.what_is_lambda.trade_off import LAM, accuracies
from sdnet.report.origin import concat
from sdnet.report.shown import Shown
from sdnet.report.tables import NOT_RUN, page

IMAGES, COUNTS = (200, 500, 1000, 2000, 10_000), (3, 5, 8)
LAMS = (0.1, 0.5)
"""The difference is that between the accuracies of one network at these two λ."""


def detectable(accuracy: pd.DataFrame, images: int, seeds: int) -> float:
    """The difference of two accuracies, in points, that is told from none with probability 0.8.

    The spread over seeds is that of the difference in the rows; the images add the binomial variance of both.

    Args:
        accuracy: in points, a row per seed and a column for either λ.
    """
    difference = accuracy[LAMS[1]] - accuracy[LAMS[0]]
    shares = accuracy.mean() / 100
    binomial = 100**2 * float((shares * (1 - shares)).sum()) / images
    estimate = Estimate(float(difference.mean()), float(difference.var()), len(difference), binomial)
    return estimate.detectable(LEVEL, seeds)


def show_power(cells: pd.DataFrame) -> Shown | HTML:
    """The differences that so many images and seeds can tell, under noise and under PGD."""
    sweeps, attacks = at_one_scale(cells, "sweep", (LAM,)), at_one_scale(cells, "attack", (SDNET,))
    noisy = accuracies(sweeps, LAM).pivot(index="seed", columns="strength", values="noisy")
    attacked = robust(attacks, SDNET, "linf", "oblivious")
    attacked = 100 * attacked.pivot(index="seed", columns="strength", values="value").astype(float)
    lines, used = [], []
    for name, rows, table in (("under noise", sweeps, noisy), ("under PGD of λ = 0.1", attacks, attacked)):
        table = table.reindex(columns=LAMS).dropna()
        if len(table) < SEEDS:
            continue
        used.append(rows)
        measured = int(rows["n"].max())
        for images in IMAGES:
            size = f"{images:,}" + (" (asked here)" if images == measured else "")
            by_seeds = {f"{seeds} seeds": f"{detectable(table, images, seeds):.1f}" for seeds in COUNTS}
            lines.append({"accuracy": name, "images": size, **by_seeds})
    if not lines:
        return NOT_RUN
    caption = (
        f"Power: the difference between two accuracies, in points, that a two-sided test at 5 % tells from none with "
        f"probability 0.8. From the spread over {SEEDS} seeds or more of SDNet-18 at λ = {LAMS[0]:g} and {LAMS[1]:g}, "
        "and the binomial spread of images."
    )
    return page(pd.DataFrame(lines), caption, "power", made_from=concat(used))
