"""Tables 2 and 3 of the paper in its layout, with ours beside, and the tables that question them."""

import pandas as pd
from IPython.display import HTML

from sdnet.data.common_corruptions import COMMON
from sdnet.experiments import costs
from sdnet.experiments.corruptions.robustness import (
    NOISES,
    ROWS,
    Row,
    clean_drops,
    cross_type,
    optimal_strengths,
    over_severities,
    policy_cells,
    top1,
)
from sdnet.report.origin import concat
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page, paper_prints
from sdnet.results.paper import paper_table
from sdnet.results.select import select

LABELS = {
    "gaussian_noise": "Gaussian", "shot_noise": "Shot", "speckle_noise": "Speckle", "impulse_noise": "Impulse",
    "mean": "mean of the four",
}  # fmt: skip
EXPERIMENTS = ("sweep", "policies")


def show_scale(cells: pd.DataFrame) -> HTML:
    """Which networks the page is about: a line per network, with seeds, test images, and where the noise came from."""
    runs = cells[cells["experiment"].isin(["sweep", "policies"])]
    lines = []
    for (arch, variant), group in runs.groupby(["arch", "variant"], sort=False):
        lines.append(
            {
                "network": f"{arch} ({variant})" if variant else arch,
                "data": ", ".join(sorted(group["dataset"].unique())),
                "width": ", ".join(f"{width:.0f}" for width in sorted(group["width"].unique())),
                "epochs": ", ".join(f"{epochs:.0f}" for epochs in sorted(group["epochs"].unique())),
                "seeds": ", ".join(f"{seed:.0f}" for seed in sorted(group["seed"].unique())),
                "test images": ", ".join(f"{n:,.0f}" for n in sorted(group["images"].unique())),
                "noise": ", ".join(sorted(group["noise"].unique())),
                "commits": ", ".join(sorted({str(commit)[:7] for commit in group["commit"]})),
            }
        )
    if not lines:
        return HTML(f"<p>No sweep yet: {chip('not run')}.</p>")
    return page(pd.DataFrame(lines), "The networks that were tested under noise, and on what.", "scale", made_from=runs)


def show_table2(cells: pd.DataFrame, corruption: str = "gaussian_noise") -> Shown:
    """Accuracy by severity of one noise (the paper's Table 2 is Gaussian), mean over seeds, with the λ chosen."""
    paper = paper_table(2) if corruption == "gaussian_noise" else None
    lines = []
    for row in ROWS:
        values = top1(cells, row, corruption)
        values = values[values["corruption"].isin(["clean", corruption])]
        line: dict[str, object] = {"network": _name(row)}
        for severity in range(6):
            here = values[values["severity"] == severity]
            printed = None if paper is None or severity == 0 else _printed(paper, row, severity=severity)
            line["clean" if severity == 0 else f"severity {severity}"] = _cell(here, printed, strength=_turned(row))
        lines.append(line)
    beside = "" if paper is None else ", beside the paper's Table 2"
    caption = f"Accuracy (%) under {LABELS[corruption]} noise by severity, mean over seeds{beside}. {SMALL_PRINT}"
    return page(pd.DataFrame(lines), caption, f"table2-{corruption}", wrap=True, made_from=cells)


def show_table3_imagenet(cells: pd.DataFrame) -> Shown:
    """The ImageNet-C block of Table 3, with what a cell would take that nobody has run: :mod:`sdnet.experiments.costs`.

    Args:
        cells: all of them, from :func:`sdnet.results.cells.to_frame`.
    """
    paper, speeds = paper_table(3), costs.speeds(paper_table(1))
    paper, cells = paper[paper["dataset"] == "imagenet-c"], cells[cells["dataset"] == "imagenet"]
    lines = []
    for row in ROWS:
        if row.paper is None or not (paper["arch"] == row.paper[0]).any():
            continue
        values = over_severities(top1(cells, row))
        line: dict[str, object] = {"network": f"<b>{row.label}</b>" if row.policy is None else _name(row)}
        for corruption in dict.fromkeys(paper["corruption"]):
            here = values[values["corruption"] == corruption]
            printed = _cell(here, _printed(paper, row, corruption=corruption))
            cost = costs.show(costs.of_imagenet_c(row, speeds[row.arch])) if here.empty else ""
            line[LABELS[corruption]] = f"{printed}{cost}" if here.empty else printed
        lines.append(line)
    caption = (
        "The ImageNet-C block of the paper's Table 3: accuracy (%), and for what was not run the time it would take, "
        "which opens to the command."
    )
    return page(pd.DataFrame(lines), caption, "table3-imagenet", made_from=cells[cells["experiment"].isin(EXPERIMENTS)])


def show_table3(cells: pd.DataFrame) -> Shown:
    """Accuracy averaged over the five severities, per noise: the CIFAR-10-C block of Table 3."""
    paper = paper_table(3)
    lines = []
    for row in ROWS:
        values = over_severities(top1(cells, row))
        mean = values.groupby("seed", as_index=False).agg(value=("value", "mean"), n=("n", "min"), run=("run", "first"))
        line: dict[str, object] = {"network": _name(row)}
        for corruption in NOISES:
            printed = _printed(paper, row, dataset="cifar10-c", corruption=corruption)
            here = values[values["corruption"] == corruption]
            line[LABELS[corruption]] = _cell(here, printed, interval=_interval(cells, row, corruption))
        line[LABELS["mean"]] = _cell(mean, None)
        lines.append(line)
    caption = (
        "Accuracy (%) under four noises, mean over five severities and over seeds: the paper's Table 3 for "
        f"CIFAR-10-C. {SMALL_PRINT} In brackets the 95 % interval over images."
    )
    return page(pd.DataFrame(lines), caption, "table3", wrap=True, made_from=cells)


SMALL_PRINT = (
    "Grey: what the paper prints. Small: the number n of test images, the lowest and highest seed if there are "
    "several, and behind “at” the strength that was chosen."
)


def _turned(row: Row) -> bool:
    return row.strength is None and row.policy != "fixed"


def _name(row: Row) -> str:
    mark = f" {note('uses test labels')}" if row.oracle else ""
    if row.label.startswith(("ResNet", "SCN", "SDNet", "One-step")):
        return f"<b>{row.label}</b>{mark}"
    return f"&emsp;{row.label}{mark}"


def _printed(paper: pd.DataFrame, row: Row, **where: object) -> float | None:
    if row.paper is None:
        return None
    chosen = select(paper, arch=row.paper[0], policy=row.paper[1], metric="top1")
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    return float(chosen["value"].iloc[0])


def _interval(cells: pd.DataFrame, row: Row, corruption: str) -> tuple[float, float] | None:
    """The bootstrap interval over images that the run stored, averaged over seeds."""
    if row.oracle and row.policy is None:
        return None  # the strength differs between severities, so no stored interval is its own
    chosen = select(cells, metric="top1_over_severities", corruption=corruption, **row.network)
    if row.policy is not None:
        chosen = select(chosen, policy=row.policy, fitted_on=["", "all", corruption])
    else:
        chosen = select(chosen, knob=row.knob, strength=row.strength)
    if chosen.empty:
        return None
    chosen = select(chosen, one_per=["seed"], prefer=("n", "started"))
    return float(chosen["low"].mean()), float(chosen["high"].mean())


def _cell(
    values: pd.DataFrame, printed: float | None, *, strength: bool = False, interval: tuple[float, float] | None = None
) -> Number | str:
    """The paper's number, ours as a mean over seeds, what was chosen, and below it the spread."""
    text = "" if printed is None else f"{paper_prints(f'paper {printed:.2f}')}<br>"
    if values.empty:
        return text + chip("not run")
    value = 100 * values["value"]
    notes = [f"n {values['n'].min():,.0f}"]
    if interval is not None:
        notes.append(f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]")
    if len(value) > 1:
        notes.append(f"seeds {value.min():.1f}–{value.max():.1f}")
    if strength:
        notes.append(f"at {values['strength'].astype(float).mean():.2g}")
    return Number(f"{text}<b>{value.mean():.2f}</b><br>{note(' · '.join(notes))}", values)


def show_optimal(cells: pd.DataFrame, rows: dict[str, Row]) -> Shown:
    """Spearman's ρ between severity and the best strength, per noise; one value per seed."""
    lines = []
    for label, row in rows.items():
        found = optimal_strengths(cells, row)
        line = {"what is turned": label}
        for corruption in NOISES:
            rho = found[found["corruption"] == corruption]["rho"]
            line[LABELS[corruption]] = ", ".join(f"{v:.2f}" for v in rho) or chip("not run")
        lines.append(line)
    caption = (
        "Does the best strength grow with the severity of the noise? Spearman's ρ between the two, one value per "
        "seed: 1 if it never falls, 0 if there is no trend."
    )
    behind = cells[cells["run"].isin(concat(top1(cells, row) for row in rows.values())["run"])]
    return page(pd.DataFrame(lines), caption, "optimal", made_from=behind)


def show_fits(cells: pd.DataFrame) -> HTML:
    """How well a line describes the best λ: R² against the residual's norm and its square, one value per seed."""
    lines, behind = [], []
    for policy, label in (
        ("residual_fit", "Algorithm 1"),
        ("authors_script", "as released"),
        ("type_free", "all types"),
    ):
        fits = policy_cells(cells, "r_squared", policy=policy)
        for corruption in (*NOISES, "all"):
            chosen = fits[fits["fitted_on"] == corruption]
            if not chosen.empty:
                behind.append(chosen)
                line = {"rule": label, "fitted on": LABELS.get(corruption, "all four")}
                for power, name in ((1, "R² against ‖r‖"), (2, "R² against ‖r‖²")):
                    line[name] = ", ".join(f"{v:.2f}" for v in chosen[chosen["power"] == power]["value"])
                slope = chosen[chosen["power"] == 1]["slope"]
                line["slope against ‖r‖"] = ", ".join(f"{v:.3f}" for v in slope)
                lines.append(line)
    if not lines:
        return HTML(f"<p>Algorithm 1: {chip('not run')}</p>")
    caption = (
        "How well a straight line describes the best λ: R² (1 is perfect) against the norm of the residual r and "
        "against its square, and the slope of the line. One value per seed."
    )
    return page(pd.DataFrame(lines), caption, "fits", made_from=concat(behind))


def show_cross_type(cells: pd.DataFrame) -> Shown:
    """Points of accuracy lost by using the line of one noise on another, over severities and seeds; error of λ."""
    table = cross_type(cells)
    lines = []
    for fitted_on in NOISES:
        line = {"fitted on": LABELS[fitted_on]}
        for corruption in NOISES:
            here = select(table, fitted_on=fitted_on, corruption=corruption)
            own = (
                "–"
                if fitted_on == corruption
                else f"{100 * here['loss'].mean():+.2f} (λ off by {here['lam_error'].mean():.2f})"
            )
            line[f"tested on {LABELS[corruption]}"] = own if not here.empty else chip("not run")
        lines.append(line)
    caption = (
        "Points of accuracy lost if Algorithm 1 was fitted on one noise and meets another, and in brackets how far "
        "its λ is off. Mean over seeds and severities."
    )
    made_from = select(cells, experiment="policies", policy="residual_fit", metric="top1")
    return page(pd.DataFrame(lines), caption, "cross", made_from=made_from[made_from["variant"] == ""])


def show_clean(cells: pd.DataFrame) -> Shown:
    """Clean accuracy at the λ that Algorithm 1 chose for each noise and severity, and the points it loses."""
    drops = clean_drops(cells)
    lines = []
    for corruption in NOISES:
        line: dict[str, object] = {"λ chosen for": LABELS[corruption]}
        for severity in range(1, 6):
            here = select(drops, corruption=corruption, severity=severity)
            text = f"{100 * here['value'].mean():.2f} <b>({-100 * here['drop'].mean():+.2f})</b>"
            small = note(f"λ = {here['lam'].astype(float).mean():.2f}")
            line[f"severity {severity}"] = Number(f"{text}<br>{small}", here) if not here.empty else chip("not run")
        lines.append(line)
    caption = (
        "Accuracy (%) on clean images at the λ that Algorithm 1 chose for noisy ones, and in brackets the change "
        "against λ = 0.1, in points."
    )
    return page(pd.DataFrame(lines), caption, "clean", made_from=cells)


def show_common(cells: pd.DataFrame) -> HTML:
    """Blur, weather and digital corruptions over severities: SDNet-18 at λ = 0.1 and at the best λ, an oracle."""
    chosen = select(
        cells, one_per=("seed", "corruption", "severity", "strength"), prefer=("n", "started"),
        experiment="sweep", metric="top1", corruption=COMMON, knob="lam", arch="sdnet18", variant="",
    )  # fmt: skip
    lines = []
    for corruption, group in chosen.groupby("corruption"):
        wide = group.pivot_table(index=["seed", "severity"], columns="strength", values="value")
        if 0.1 not in wide:
            continue
        wide = wide.dropna(subset=[0.1])
        fixed, best = 100 * wide[0.1].mean(), 100 * wide.max(axis=1).mean()
        lines.append((str(corruption).replace("_", " "), fixed, best, wide.idxmax(axis=1).mean(), group["n"].min()))
    table = pd.DataFrame(lines, columns=["corruption", "λ = 0.1", "best λ per severity", "mean best λ", "images"])
    if table.empty:
        return HTML(f"<p>{chip('not run')}</p>")
    table["gain"] = table["best λ per severity"] - table["λ = 0.1"]
    table = table.sort_values("gain", ascending=False)
    for column in ("λ = 0.1", "best λ per severity"):
        table[column] = table[column].map("{:.1f}".format)
    table["gain"] = table["gain"].map("<b>{:+.1f}</b>".format)
    table["mean best λ"] = table["mean best λ"].map("{:.2f}".format)
    table["images"] = table["images"].map("{:,.0f}".format)
    caption = (
        "Accuracy (%) under other corruptions: at λ = 0.1, and at the best λ by test labels, mean over severities."
    )
    return page(table, caption, "common", made_from=chosen)
