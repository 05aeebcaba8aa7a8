"""The effects that the paper prints, as the rules measure them: what each rule says of the paper's own numbers."""

import pandas as pd
from scipy.stats import spearmanr

from sdnet.experiments.attacks.adversarial import NORMS
from sdnet.experiments.claims.accuracy import AS_ACCURATE
from sdnet.experiments.claims.attacks import GAIN
from sdnet.experiments.claims.noise import short
from sdnet.experiments.claims.rule import Printed, exact
from sdnet.results.paper import paper_table
from sdnet.results.select import select

NOTHING = Printed(missing="the paper prints no number for this")


def difference(dataset: str, bound: float) -> Printed:
    """C1 and C2: SDNet-18 less ResNet-18 in Table 1."""
    table = paper_table(1)
    chosen = select(table, dataset=dataset, metric="top1").set_index("arch")["value"]
    return exact({"": float(chosen["sdnet18"] - chosen["resnet18"])}, bound)


def as_accurate() -> Printed:
    """C1: the difference on CIFAR-10, beside the bound of a network that is as accurate."""
    return difference("cifar10", AS_ACCURATE)


def better_on_cifar100() -> Printed:
    """C2: the difference on CIFAR-100, which should be above 0."""
    return difference("cifar100", 0.0)


def best_lam() -> Printed:
    """C5: the λ of Algorithm 1 in Table 2, which is Gaussian noise alone."""
    table = paper_table(2)
    chosen = table[table["metric"] == "lam"]
    rho = float(spearmanr(chosen["severity"].astype(int), chosen["value"]).statistic)
    return exact({"gaussian": rho}, 0.5, unit="")


def _table3() -> pd.DataFrame:
    """CIFAR-10-C's block of Table 3: a column per network and policy."""
    table = paper_table(3)
    chosen = table[table["dataset"] == "cifar10-c"]
    return chosen.assign(who=chosen["arch"] + " " + chosen["policy"]).pivot_table(
        index="corruption", columns="who", values="value"
    )


def at_training_lam() -> Printed:
    """C6: Table 3, mean over noises."""
    table = _table3()
    return exact({"": float((table["sdnet18 fixed"] - table["resnet18 "]).mean())})


def algorithm1_gains() -> Printed:
    """C7: Table 3, by noise."""
    table = _table3()
    gains = table["sdnet18 residual_fit"] - table["sdnet18 fixed"]
    return exact({short(str(noise)): float(value) for noise, value in gains.items()})


def attacks() -> Printed:
    """C9: what tuning gains in Table 4."""
    table = paper_table(4)
    values = table[table["arch"] == "sdnet18"].set_index(["policy", "norm"])["value"].astype(float).to_dict()
    gains = {f"{label}: gain": values["tuned", norm] - values["fixed", norm] for norm, label in NORMS.items()}
    return Printed(exact(gains, GAIN, role="for").effects, "no attack that knows λ is printed")


def iterations() -> Printed:
    """C10: two steps against eight in Table 5, on ImageNet-C with λ by Algorithm 1."""
    table = paper_table(5)
    wide = table[table["corruption"] != ""].pivot_table(index="corruption", columns="iterations", values="value")
    gains = wide[8] - wide[2]
    return exact({short(str(noise)): float(value) for noise, value in gains.items()})


def curves() -> Printed:
    """For claims D and M: their documents draw curves and print no number."""
    return Printed(missing="the document prints no number for this")


def question_of_this_book() -> Printed:
    """For claims L: they are questions of this book, about which the paper prints nothing."""
    return Printed(missing="a question of this book")


def nothing() -> Printed:
    """Claims of which the paper prints no number that the rule could be asked about."""
    return NOTHING
