"""What can become of a claim."""

from dataclasses import dataclass

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim at one scale.

    Attributes:
        verdict: ``"holds"``, ``"does not hold"``, ``"undecided"`` or ``"not run"``.
        scale: data, width, epochs, images and seeds, or the device of a benchmark.
        seeds: how many seeds have everything that the rule asks for; 0 where seeds play no part.
        numbers: what was measured, with 95 % intervals.
        excludes: whether the intervals exclude the effect that the paper reports.
        needed: of what is undecided, the difference that so many seeds can tell, and the seeds that would decide it.
        paper: what the same rule says of the numbers that the paper prints.
        controls: what the controls did under the same test.
    """

    verdict: str
    scale: str = ""
    seeds: int = 0
    numbers: str = ""
    excludes: str = ""
    needed: str = ""
    paper: str = ""
    controls: str = ""
