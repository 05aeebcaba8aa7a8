"""The rule behind every verdict, as ``data/paper/claims.csv`` states it: cells of the ledger in, verdicts out.

They stand since 2026-11-25, before any accuracy under noise or attack of a network trained on CIFAR-10 without loss
was looked at; ``data/paper/rule_changes.csv`` has what was changed after which numbers.
"""

from collections.abc import Callable

import pandas as pd

from sdnet.experiments.accuracy.scorecard import STAND_INS
from sdnet.experiments.claims import adaptation, attacks, codes, knob, noise, printed, pursuits
from sdnet.experiments.claims.accuracy import AS_ACCURATE, LITTLE, beside
from sdnet.experiments.claims.outcome import Verdict
from sdnet.experiments.claims.rule import IMAGES, Controls, Requires, Rule
from sdnet.experiments.claims.speed import as_fast_and_small, faster_than_scn
from sdnet.experiments.what_is_lambda.solvers import DATA as PHOTOGRAPHS

CIFAR10 = ("cifar10", *STAND_INS["cifar10"])
ONE_SIDED = 0.05
"""Level of the tests of non-inferiority, C1's and C11a's, and of the orderings D and M."""


def ordering(requires: Requires, controls: Controls = lambda cells: {}, match: float = 0.0) -> Rule:
    """The rule of an ordering of members of the family."""
    return Rule("pursuit", CIFAR10, requires, printed.curves, ONE_SIDED, controls=controls, match=match)


def question(experiment: str, requires: Requires, controls: Controls = lambda cells: {}, images: int = IMAGES) -> Rule:
    """The rule of a question about λ, which no paper has printed a number for."""
    return Rule(experiment, CIFAR10, requires, printed.question_of_this_book, images=images, controls=controls)


RULES: dict[str, Callable[[pd.DataFrame], tuple[Verdict, ...]]] = {
    "C1": Rule("train", CIFAR10, beside("sdnet18", "resnet18", AS_ACCURATE), printed.as_accurate, ONE_SIDED),
    "C2": Rule("train", ("cifar100",), beside("sdnet18", "resnet18", 0.0), printed.better_on_cifar100),
    "C3": as_fast_and_small,
    "C4": faster_than_scn,
    "C5": Rule("sweep", CIFAR10, noise.best_lam_grows, printed.best_lam, controls=noise.best_strength_of_controls,
               match=0.1),
    "C6": Rule("sweep", CIFAR10, noise.better_at_training_lam, printed.at_training_lam,
               controls=noise.one_step_at_training_lam),
    "C7": Rule("policies", CIFAR10, noise.algorithm1_gains, printed.algorithm1_gains, controls=noise.one_step_gains),
    "C8": Rule("policies", CIFAR10, noise.linear_and_specific, printed.nothing),
    "C9": Rule("attack", CIFAR10, attacks.withstands_attacks, printed.attacks, controls=attacks.tuned_controls,
               match=5.0),
    "C10": Rule("sweep", ("imagenet", *CIFAR10), noise.iterations_help, printed.iterations,
                controls=noise.one_step_beside_eight),
    "C11a": Rule("train", CIFAR10, beside("sdnet18_all", "sdnet18", LITTLE), printed.nothing, ONE_SIDED),
    "C11b": Rule("visual", CIFAR10, codes.decoding_shows_more, printed.nothing, images=16),
    "C12a": Rule("policies", CIFAR10, noise.clean_at_its_own_lam, printed.nothing),
    "C12b": Rule("policies", CIFAR10, noise.clean_at_the_lam_of_noise, printed.nothing),
    "C13": Rule("guarantee", CIFAR10, codes.guarantee_applies, printed.nothing, images=50),
    "D1": ordering(pursuits.depth_and_skips, pursuits.depth_and_skips_otherwise),
    "D2": ordering(pursuits.skips_beat_layered, pursuits.skips_otherwise),
    "D3": ordering(pursuits.chain_needs_iterations),
    "D4": ordering(pursuits.iterations_harden, pursuits.iterations_otherwise),
    "D5": ordering(pursuits.deep_reconstructs),
    "D6": ordering(pursuits.coherence_falls),
    "M1": ordering(pursuits.as_a_resnet),
    "M2": ordering(pursuits.no_degradation, pursuits.resnet_degrades_as_little, match=1.0),
    "M3": ordering(pursuits.unfolding_helps),
    "M4": ordering(pursuits.better_than_msdnet),
    "M5": ordering(pursuits.mixed_scale_reconstructs),
    "L1a": question("sweep", knob.better_than_filters, knob.other_remedies),
    "L1b": question("fourier", knob.low_pass, knob.filter_by_frequency, images=200),
    "L2": question("confidence", knob.before_normalisation, knob.recomputed),
    "L3": question("sweep", knob.minimiser_helps, knob.one_step_beside_minimiser),
    "L4a": question("confidence", adaptation.adapted_helps, adaptation.adapted_otherwise),
    "L4b": question("confidence", adaptation.adapts_beyond_statistics, adaptation.statistics_otherwise),
    "L4c": question("sweep", adaptation.learned_withstands, adaptation.learned_per_channel),
    "L5a": question("attack", knob.raised_withstands, knob.threshold_withstands),
    "L5b": question("attack", knob.smoothing_finds_nothing, knob.smoothing_a_relu),
    "L6": question("certify", knob.certifies_more, knob.filter_certifies, images=200),
    "L7": question("confidence", knob.calibrated_at_best, knob.filter_calibrated),
    "L9": Rule("solvers", (PHOTOGRAPHS,), knob.needs_no_more_iterations, printed.question_of_this_book, images=8,
               controls=knob.ista_falls_behind),
}  # fmt: skip
"""Claim → its rule: all cells of the ledger in, a verdict per scale out, the one that counts first."""
