"""What the playground shows, computed by PyTorch: answers to many noise draws of every picture, at every λ."""

import pandas as pd
import torch

from sdnet.csc.lam import at_lam
from sdnet.data.batches import to_pixels
from sdnet.data.corruptions import add_noise, level_of
from sdnet.experiments.playground.adversaries import ADVERSARIES, CRAFTED, still_right
from sdnet.experiments.playground.drawings import pictures
from sdnet.experiments.playground.export import RESNET, SDNET
from sdnet.experiments.playground.lines import read_lines
from sdnet.report.shown import Shown
from sdnet.report.tables import page
from sdnet.results import networks

PLAIN = "ResNet"
"""The column that has no λ."""
SOME = (0.1, 0.5, 0.9, 1.5)
"""λ of the tables, as in the page's own table of all pictures: more columns than these do not fit on a phone."""


@torch.no_grad()
def answers(noise: str, severity: int, draws: int) -> pd.DataFrame:
    """The class that each network answers to each noise draw of each picture.

    Returns:
        A row for each picture, draw and network: ``picture``, ``draw``, ``at`` (:data:`PLAIN`, or λ as text) and
        ``answer``.
    """
    sdnet, resnet = networks.load(SDNET), networks.load(RESNET)
    rows = []
    for picture in pictures():
        copies = picture.pixels.expand(draws, -1, -1, -1).contiguous()
        images = to_pixels(add_noise(copies, noise, level_of(noise, severity)))
        scores = {PLAIN: resnet.model(images)}
        scores |= {f"λ {lam:g}": at_lam(sdnet.model, torch.tensor(lam), images) for lam in SOME}
        for at, score in scores.items():
            found = [sdnet.classes[index] for index in score.argmax(1).tolist()]
            rows += [(picture.label, draw, at, answer) for draw, answer in enumerate(found)]
    return pd.DataFrame(rows, columns=["picture", "draw", "at", "answer"])


def shares(found: pd.DataFrame) -> pd.DataFrame:
    """The share of draws that are answered rightly, in percent: a row for each picture, a column for each λ."""
    right = (found["answer"] == found["picture"]).mul(100)
    table = right.groupby([found["picture"], found["at"]], sort=False).mean().unstack()
    return table.round(0).astype(int).rename_axis(index=None, columns=None)


def favourites(found: pd.DataFrame) -> pd.DataFrame:
    """The answer that is given most often over all pictures and draws, and its share in percent: a row for each λ.

    As many pictures as there are classes would each have their share; an answer far above it says little of a picture.
    """
    given = found.groupby("at", sort=False)["answer"].value_counts(normalize=True).mul(100)
    best = given.groupby(level="at", sort=False).head(1).round(0).astype(int).rename("% of all answers")
    table = best.reset_index("answer").rename(columns={"answer": "most frequent answer"})
    return table.reindex(found["at"].unique()).rename_axis(index=None)


def show_shares(found: pd.DataFrame, noise: str) -> Shown:
    """:func:`shares` as a table of the book."""
    table = shares(found).rename_axis(index="picture").reset_index().astype(str)
    caption = f"In how many percent of {found['draw'].nunique()} draws of {noise} (severity 5) the answer is right."
    return page(table, caption, f"shares-{noise.split()[0]}".lower(), made_from=_made(found))


def show_favourites(found: pd.DataFrame, noise: str) -> Shown:
    """:func:`favourites` as a table of the book."""
    table = favourites(found).rename_axis(index="network").reset_index().astype(str)
    caption = f"The answer that a network gives most often, over all pictures and draws of {noise} (severity 5)."
    return page(table, caption, f"favourites-{noise.split()[0]}".lower(), made_from=_made(found))


def attacked() -> pd.DataFrame:
    """How many pictures are still right, as :func:`still_right` says: a row for each adversary, a column for each λ."""
    plain, ours = still_right(RESNET), still_right(SDNET)
    rows = {label: torch.cat([plain[who], ours[who]]).sum(1).tolist() for who, label in ADVERSARIES.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[PLAIN, *(f"λ {lam:g}" for lam in CRAFTED)])


def show_attacked() -> Shown:
    """:func:`attacked` as a table of the book."""
    count = len(pictures())
    caption = (
        f"How many of the {count} pictures are recognised: as they are, and also after PGD has changed every colour "
        "value by at most 8 of 255."
    )
    table = attacked().rename_axis(index="adversary").reset_index().astype(str)
    made = f"the networks {SDNET} and {RESNET}, seed 0 of the attack, n = {count} pictures"
    return page(table, caption, "attacked-pictures", wrap=True, made_from=made)


def show_lines() -> Shown:
    """:func:`lines` as a table of the book."""
    table = lines().map("{:.3f}".format).rename_axis(index="fitted on").reset_index()
    caption = (
        "Algorithm 1 in the playground: λ = slope · r + intercept, where r is the mean residual. One line for each "
        "noise that it was fitted on."
    )
    return page(table, caption, "playground-lines", made_from=f"the network {SDNET}, n = 1,000 training images")


def _made(found: pd.DataFrame) -> str:
    return f"the networks {SDNET} and {RESNET}, n = {len(found) // found['at'].nunique()} noisy pictures"


def lines() -> pd.DataFrame:
    """The stored lines λ = slope · r + intercept of Algorithm 1, by the noise that they were fitted on."""
    found = read_lines(SDNET)
    table = {
        name.replace("_", " "): {"slope": policy.slope, "intercept": policy.intercept} for name, policy in found.items()
    }
    return pd.DataFrame(table).T.round(3)
