"""Cells of sweeps and of policies, as the ledger would hold them, whose answers are known."""

import pandas as pd

from sdnet.experiments.corruptions.robustness import NOISES, Row
from sdnet.results.cells import CELL_COLUMNS

LAMS = (0.1, 0.5, 1.0)
SDNET = {
    "arch": "sdnet18",
    "variant": "",
    "dataset": "cifar10-jpeg",
    "preset": "quick",
    "width": 16,
    "epochs": 15,
    "noise": "generated",
}


def sweep_cells(started: str = "2026", n: int = 100, seeds: tuple[int, ...] = (0, 1), **changes: object) -> list[dict]:
    """Accuracy 0.9 − 0.1 severity − |λ − best| with the best λ 0.1, 0.5, 0.5, 1, 1, 1 for severity 0 to 5."""
    best = (0.1, 0.5, 0.5, 1.0, 1.0, 1.0)
    base = {**SDNET, "experiment": "sweep", "knob": "lam", "metric": "top1", "started": started, "n": n, **changes}
    return [
        {**base, "seed": seed, "corruption": corruption, "severity": severity, "strength": lam,
         "value": 0.9 - 0.1 * severity - 0.1 * abs(lam - best[severity]) + 0.01 * seed}
        for seed in seeds
        for corruption in ("clean", *NOISES)
        for severity in ((0,) if corruption == "clean" else range(1, 6))
        for lam in LAMS
    ]  # fmt: skip


def policies_cells(slope: float = 0.02, gain: float = 0.1, drop: float = 0.02, **changes: object) -> list[dict]:
    base = {**SDNET, "experiment": "policies", "started": "2026", "n": 100, "images": 100, **changes}
    rows = []
    for seed in (0, 1):
        common = {**base, "seed": seed}
        rows.append(
            {
                **common,
                "metric": "top1",
                "policy": "fixed",
                "fitted_on": "",
                "corruption": "clean",
                "severity": 0,
                "lam": 0.1,
                "value": 0.85,
            }
        )
        for corruption in NOISES:
            fit = {**common, "metric": "r_squared", "policy": "residual_fit", "fitted_on": corruption}
            rows += [{**fit, "power": p, "slope": slope, "intercept": 0.0, "value": 0.95} for p in (1, 2)]
            for level in (1, 2, 3):
                point = {"residual": 10.0 * level, "squared_residual": 100.0 * level**2, "value": slope * 10 * level}
                rows.append(
                    {
                        **common,
                        "metric": "best_lam",
                        "policy": "residual_fit",
                        "corruption": corruption,
                        "level": level,
                        **point,
                    }
                )
            rows.append(
                {
                    **common,
                    "metric": "gain_over_fixed",
                    "policy": "residual_fit",
                    "fitted_on": corruption,
                    "corruption": corruption,
                    "value": gain,
                    "low": gain - 0.02,
                    "high": gain + 0.02,
                }
            )
            rows.append(
                {
                    **common,
                    "metric": "top1_over_severities",
                    "policy": "residual_fit",
                    "fitted_on": corruption,
                    "corruption": corruption,
                    "value": 0.6,
                    "low": 0.58,
                    "high": 0.62,
                }
            )
            for severity in range(1, 6):
                where = {"corruption": corruption, "severity": severity}
                for fitted_on in NOISES:
                    own = fitted_on == corruption
                    rows.append(
                        {
                            **common,
                            "metric": "top1",
                            "policy": "residual_fit",
                            "fitted_on": fitted_on,
                            **where,
                            "lam": 0.5 if own else 0.8,
                            "value": 0.6 if own else 0.57,
                        }
                    )
                rows.append(
                    {
                        **common,
                        "metric": "clean_top1",
                        "policy": "residual_fit",
                        "fitted_on": corruption,
                        **where,
                        "lam": 0.1 * severity,
                        "value": 0.85 - drop * severity,
                    }
                )
    return rows  # fmt: skip


def frame(*parts: list[dict]) -> pd.DataFrame:
    cells = pd.DataFrame([row for part in parts for row in part])
    columns = dict.fromkeys([*CELL_COLUMNS, *cells.columns])
    return cells.reindex(columns=list(columns))


FIXED, ORACLE = Row("fixed", "sdnet18", knob="lam", strength=0.1), Row("oracle", "sdnet18", knob="lam")
