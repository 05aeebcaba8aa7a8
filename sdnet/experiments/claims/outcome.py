"""What can become of a claim."""

from dataclasses import dataclass

SUPPORTED, REFUTED, UNDECIDED, NOT_RUN = "supported", "refuted", "undecided", "not run"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        verdict: ``"supported"``, ``"refuted"``, ``"undecided"`` or ``"not run"``.
        numbers: what was measured, as a sentence.
        controls: what the controls did under the same test.
    """

    verdict: str
    numbers: str = ""
    controls: str = ""
