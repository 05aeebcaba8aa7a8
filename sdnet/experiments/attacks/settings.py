"""What a run of attacks measures, and how much of it at each size."""

from dataclasses import dataclass

from sdnet.experiments.attacks.protocols import PROTOCOLS
from sdnet.names import unknown_name
from sdnet.parameters import Amount, Count, Seed, check_fields
from sdnet.robust import attacks
from sdnet.robust.attacks import ATTACKS, EPSILONS, NORMS, Attack

IMAGES = {"paper": 10_000, "quick": 500, "smoke": 10}
"""Size of a run → number of test images for PGD and FGSM."""
FEWER = {"paper": 1000, "quick": 200, "smoke": 10}
"""The same for AutoAttack, Square and the sanity checks."""
QUERIES = {"paper": 5000, "quick": 1000, "smoke": 50}
"""Size of a run → queries of Square."""
GRIDS = {
    "lam": (0.1, 0.3, 0.5, 0.8, 1.1, 1.5),
    "lam_shift": (0.0, 0.2, 0.4, 0.7, 1.1, 1.4),
    "stem_threshold": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
    "mean_sparse": (0.0, 0.1, 0.2, 0.4),
    "gaussian_filter": (0.0, 0.5, 0.8, 1.0),
    "quantisation": (0.0, 0.1, 0.25, 0.5),
}
"""Knob through which gradients pass → strengths at which perturbations are crafted, beside that of training. A stem's
threshold above 0.3 leaves one class for all images, which no attack can change: those strengths are only scored."""


@dataclass(frozen=True)
class AttackSettings:
    """What a run measures.

    Attributes:
        preset: ``"paper"``, ``"quick"`` or ``"smoke"``: see :data:`IMAGES`, :data:`FEWER` and :data:`QUERIES`.
        images: another number of test images, for every attack and check.
        norms, attacks: see :mod:`sdnet.robust.attacks`.
        protocols: names of :data:`sdnet.experiments.attacks.protocols.PROTOCOLS`; None for all that this network
            allows.
        knob: a name of :data:`GRIDS`; None for the network's
            :func:`sdnet.experiments.corruptions.sweep.default_knob`.
        crafted: strengths at which perturbations are crafted; None for the knob's of :data:`GRIDS`.
        epsilon: another radius than Table 4's.
        units, steps, restarts: of :class:`sdnet.robust.attacks.Attack`, for PGD.
        source: the network on which protocol ``"transfer"`` crafts.
        policy: a saved policy for protocol ``"policy"``; None for one fitted to each image's residual here.
        sanity: run the checks of :mod:`sdnet.experiments.attacks.sanity` too, in pixels.
        seed: of the attacks.
    """

    preset: str = "paper"
    images: Count | None = None
    norms: tuple[str, ...] = tuple(NORMS)
    attacks: tuple[str, ...] = ("pgd",)
    protocols: tuple[str, ...] | None = None
    knob: str | None = None
    crafted: tuple[Amount, ...] | None = None
    epsilon: Amount | None = None
    units: str = "pixels"
    steps: Count = 20
    restarts: Count = 1
    source: str | None = None
    policy: str | None = None
    sanity: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.preset not in IMAGES:
            raise ValueError(unknown_name("preset", self.preset, IMAGES))
        if self.knob is not None and self.knob not in GRIDS:
            raise ValueError(unknown_name("knob that gradients pass through", self.knob, GRIDS))
        for what, given, known in (
            ("protocol", self.protocols or (), PROTOCOLS),
            ("attack", self.attacks, ATTACKS),
            ("norm", self.norms, NORMS),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(unknown_name(what, name, known))
        for what, some in (("protocol", self.protocols), ("attack", self.attacks), ("norm", self.norms)):
            if some is not None and not some:
                raise ValueError(f"a run needs at least one {what}; got none.")
        if self.epsilon is not None and len(self.norms) > 1:
            raise ValueError(
                f"one epsilon for {len(self.norms)} norms is ambiguous; got {self.epsilon}: choose one norm."
            )
        self._check_effect()
        if "transfer" in (self.protocols or ()) and self.source is None:
            raise ValueError("protocol 'transfer' needs a source: the network on which perturbations are crafted.")
        self.all_attacks()

    def _check_effect(self) -> None:
        """Raise ValueError for what is chosen and would change nothing."""
        for name, given, protocol in (("source", self.source, "transfer"), ("policy", self.policy, "policy")):
            if given is not None and self.protocols is not None and protocol not in self.protocols:
                raise ValueError(
                    f"{name} {given!r} has no effect without protocol {protocol!r}; leave it out, or add the protocol "
                    f"to {', '.join(self.protocols)}."
                )
        if not self.sanity and not set(self.attacks) & set(attacks.PGD):
            for name, count, default in (("steps", self.steps, AttackSettings.steps), ("restarts", self.restarts, 1)):
                if count != default:
                    others = ", ".join(self.attacks)
                    raise ValueError(f"{name} {count} has no effect on {others}; leave it out, or choose pgd.")

    def attack(self, name: str, norm: str) -> Attack:
        """The attack of that name with this run's budget."""
        epsilon = EPSILONS[norm] if self.epsilon is None else self.epsilon
        if name in attacks.PGD:
            return Attack(name, norm, epsilon, self.steps, restarts=self.restarts, units=self.units)
        if name == "fgsm":
            return Attack(name, norm, epsilon, 1, random_start=False, units=self.units)
        return Attack(name, norm, epsilon, QUERIES[self.preset] if name == "square" else 100, units=self.units)

    def all_attacks(self, count: int | None = None) -> list[Attack]:
        """Every attack under every norm; with ``count`` only those that get as many test images."""
        some = [name for name in self.attacks if count in (None, self.count(name))]
        return [self.attack(name, norm) for name in some for norm in self.norms]

    def count(self, name: str) -> int:
        """How many test images that attack gets."""
        return self.images or (IMAGES if name in attacks.GRADIENT else FEWER)[self.preset]
