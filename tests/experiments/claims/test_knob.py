"""The rules about λ, on cells whose answers are known: a true effect, its opposite, and what is not complete."""

from itertools import product

import pytest
from claim_cells import BASE, Cells, frame

from sdnet.experiments.claims import knob
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.corruptions.robustness import NOISES, ONE_STEP

SPREAD = (0.0, 0.001, -0.001, 0.0005)
LAMS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
LAM = {"knob": "lam"}
FILTER = {"knob": "gaussian_filter"}


def waves(high: float, low: float, seeds: int, *, knob: str = "lam", usual: float = 0.1, turned: float = 0.4) -> Cells:
    """A knob that gains so much against high and low frequencies."""
    base = {**BASE, "experiment": "fourier", "metric": "fourier_top1", "knob": knob, "n": 200, "images": 200}
    rows: Cells = []
    for seed, (down, across) in product(range(seeds), ((0, 2), (2, 2), (0, 6), (12, 3), (16, -16))):
        gain = high if down**2 + across**2 > 64 else low if down**2 + across**2 <= 16 else 9.0
        own = {**base, "seed": seed, "down": down, "across": across}
        rows.append({**own, "strength": usual, "value": 0.5})
        rows.append({**own, "strength": turned, "value": 0.5 + gain + SPREAD[seed]})
    return rows


def thresholds(effect: float, seeds: int) -> Cells:
    """λ, and a threshold behind the normalisation that gains so much less for the same price."""
    base = {**BASE, "experiment": "confidence", "metric": "top1", "variant": ONE_STEP}
    rows: Cells = []
    for name, start, level in (("lam", 0.1, effect), ("norm_threshold", 0.0, 0.0)):
        for seed, turned in product(range(seeds), (0, 1)):
            own = {**base, "knob": name, "seed": seed, "strength": start + 0.3 * turned}
            rows.append({**own, "corruption": "clean", "severity": 0, "value": 0.8 - 0.02 * turned})
            gain = turned * (0.1 + level + SPREAD[seed])
            where = product(NOISES, range(1, 6))
            rows += [
                {**own, "corruption": noise, "severity": severity, "value": 0.4 + gain} for noise, severity in where
            ]
    return rows


def minimisers(effect: float, seeds: int) -> Cells:
    """Two steps, and the minimiser that is so much better."""
    rows: Cells = []
    for variant, level in (("gradient=implicit, iterations=64", effect), ("", 0.0)):
        for seed, noise, severity, lam in product(range(seeds), NOISES, range(1, 6), LAMS):
            value = 0.6 + level * (1 + SPREAD[seed]) - 0.1 * abs(lam - 0.4)
            own = {**BASE, "experiment": "sweep", "metric": "top1", "variant": variant, **LAM, "seed": seed}
            rows.append({**own, "corruption": noise, "severity": severity, "strength": lam, "value": value})
    return rows


def attacks(
    gain: float, smoothed: float, seeds: int, *, knob: str = "lam", strengths: tuple[float, float] = (0.1, 0.5)
) -> Cells:
    """PGD leaves so much more at the raised strength; with smoothed thresholds so much less than that there."""
    arch = "sdnet18" if knob == "lam" else "resnet18"
    base = {**BASE, "experiment": "attack", "metric": "robust_top1", "protocol": "adaptive", "knob": knob, "arch": arch}
    base |= {"units": "pixels", "steps": 20, "restarts": 1, "n": 1000, "images": None}
    rows: Cells = []
    for seed, (norm, epsilon), (place, strength) in product(
        range(seeds), (("linf", 8 / 255), ("l2", 0.5)), enumerate(strengths)
    ):
        own = {**base, "seed": seed, "norm": norm, "epsilon": epsilon, "strength": strength, "crafted_at": strength}
        value = 0.3 + place * (gain + SPREAD[seed])
        rows.append({**own, "attack": "pgd", "value": value})
        rows.append({**own, "attack": "pgd_smoothed", "value": value - place * (smoothed + 2 * SPREAD[seed])})
    return rows


def certificates(effect: float, seeds: int) -> Cells:
    """The raised λ certifies so much more, at one σ and radius; at others the opposite."""
    base = {**BASE, "experiment": "certify", "metric": "certified_top1", **LAM, "n": 200, "images": 200}
    rows: Cells = []
    for seed, sigma, radius in product(range(seeds), (0.12, 0.25), (0.0, 0.1, 0.2)):
        level = effect + SPREAD[seed] if (sigma, radius) == (0.12, 0.1) else -effect
        own = {**base, "seed": seed, "sigma": sigma, "epsilon": radius}
        rows += [{**own, "strength": 0.1, "value": 0.4}, {**own, "strength": 0.4, "value": 0.4 + level}]
    return rows


def confidences(effect: float, seeds: int) -> Cells:
    """The calibration error at the most accurate λ is one hundredth less ``effect`` above that at λ = 0.1."""
    rows: Cells = []
    for seed, noise, severity, lam in product(range(seeds), NOISES, range(1, 6), LAMS):
        own = {**BASE, "experiment": "confidence", **LAM, "seed": seed, "corruption": noise, "severity": severity}
        error = 0.2 + (lam == 0.4) * (0.01 - effect + SPREAD[seed])
        rows.append({**own, "strength": lam, "metric": "top1", "value": 0.6 - abs(lam - 0.4)})
        rows.append({**own, "strength": lam, "metric": "calibration_error", "value": error})
    return rows


CELLS = {
    "L1b": lambda effect, seeds: waves(effect, 0.0, seeds),
    "L2": thresholds,
    "L3": minimisers,
    "L5a": lambda effect, seeds: attacks(effect, 0.0, seeds),
    "L5b": lambda effect, seeds: attacks(0.1, 0.01 - effect, seeds),
    "L6": certificates,
    "L7": confidences,
}
claims = pytest.mark.parametrize("claim", CELLS)


def judged(claim: str, *parts: Cells) -> Verdict:
    return RULES[claim](frame(*parts))[0]


@claims
def test_a_true_effect_holds_and_its_opposite_does_not(claim: str) -> None:
    assert judged(claim, CELLS[claim](0.05, 4)).verdict == HOLDS
    assert judged(claim, CELLS[claim](-0.05, 4)).verdict == FAILS
    two = judged(claim, CELLS[claim](0.05, 2))
    assert (two.verdict, two.needed) == (UNDECIDED, "2 of the 3 seeds that a verdict needs")
    assert judged(claim, [{**row, "arch": "scn"} for row in CELLS[claim](0.05, 4)]).verdict == NOT_RUN
    assert RULES[claim](frame([]))[0].paper == "a question of this book"


def test_an_effect_at_the_wrong_end_is_no_low_pass_filter() -> None:
    assert judged("L1b", waves(0.05, 0.1, 4)).verdict == FAILS
    assert judged("L1b", waves(0.05, 0.02, 4)).verdict == HOLDS


def test_the_worse_of_both_attacks_counts() -> None:
    assert judged("L5a", attacks(0.05, 0.2, 4)).verdict == FAILS
    assert judged("L5a", [row for row in attacks(0.05, 0.0, 4) if row["attack"] == "pgd"]).verdict == NOT_RUN


def test_controls_are_put_beside() -> None:
    ours, blur = waves(0.05, 0.0, 4), {"knob": "gaussian_filter", "usual": 0.0, "turned": knob.BLUR}
    assert judged("L1b", ours, waves(0.08, 0.0, 4, **blur)).controls.endswith("(match)")
    assert judged("L1b", ours, waves(0.01, 0.0, 4, **blur)).controls.endswith("(do not match)")
    relu = {"knob": "stem_threshold", "strengths": (0.0, knob.THRESHOLD)}
    assert judged("L5a", attacks(0.05, 0.0, 4), attacks(0.09, 0.0, 4, **relu)).controls.endswith("(match)")
    assert judged("L5b", attacks(0.1, 0.0, 4), attacks(0.1, 0.09, 4, **relu)).controls.endswith("(do not match)")
    filtered = [{**row, "arch": "resnet18", **FILTER} for row in confidences(0.09, 4)]
    others = [{**row, "strength": {0.1: 0.0}.get(row["strength"], row["strength"])} for row in filtered]  # type: ignore[call-overload]
    assert judged("L7", confidences(0.05, 4), others).controls.endswith("(match)")


def test_a_scale_with_too_few_images_answers_for_nothing() -> None:
    few = [{**row, "n": 100, "images": 100} for row in certificates(0.05, 4)]
    assert judged("L6", few).verdict == NOT_RUN
