"""All claims at one glance: what each asks for, what was measured, and what the paper prints, a line each."""

import html
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import pandas as pd

from sdnet.experiments.claims.estimates import SEEDS
from sdnet.experiments.claims.outcome import Effect, Verdict
from sdnet.experiments.claims.verdicts import TONES, Judged, claims
from sdnet.report.shown import Shown
from sdnet.report.tables import TONES as COLOURS
from sdnet.report.tables import coloured, note, page

WIDTH, LINE, EDGE = 200, 11, 7
"""Of a strip in pixels: its width, the height of a condition, and what is left free on both sides."""
INK = f"var(--sdnet-open, {COLOURS['open']})"
RATIOS = ("of ", "times")
"""Units of what has no sign."""
MOST = 5
"""Of more conditions only the one that is nearest to falling is drawn."""
CAPTION = """The claims, one line each. A claim holds where its bars lie on the shaded side of the upright line. Dot and
bar: what was measured here, with its 95 % interval. Hollow circle: measured with fewer than three seeds, too few for a
verdict. Diamond: what the paper prints. Each strip has a scale of its own, so compare within a strip only. Controls:
simpler things under the same test, by how much they gain more than SDNet (minus: less)."""


def show_overview(verdicts: Judged, letters: str) -> Shown:
    """Every claim with a strip that shows effects, intervals, bound and the paper's effects, and its verdict.

    Strips are drawn in the ink of the page, and say in words what they show.

    Args:
        letters: with which the claims begin: C for the paper's, D and M for those about its relatives.
    """
    lines, names = [], []
    for claim in claims().to_dict("records"):
        if claim["id"][0] not in letters:
            continue
        names.append(claim["id"])
        found = verdicts[claim["id"]][0]
        lines.append(
            {
                "claim": f'<a href="{claim["page"]}.html">{claim["id"]}</a> {claim["short"]}',
                "verdict": coloured(found.verdict, TONES[found.verdict]) + _seeds(found),
                "measured, beside what is claimed": _shown(found),
            }
        )
    made_from = verdicts.behind(names)
    return page(pd.DataFrame(lines), CAPTION, f"overview-{letters}", wrap=True, made_from=made_from)


def strip(found: Verdict) -> str:
    """Effects, intervals and bounds of a verdict, and what the paper prints, as SVG; ``""`` if there is nothing."""
    rows = _drawn(found.effects or found.printed)
    if not rows:
        return ""
    few = 0 < found.seeds < SEEDS
    printed = {one.label: one.value for one in found.printed}
    ends: dict[str, list[float]] = defaultdict(list)
    for one in rows:
        ends[one.unit] += [one.bound, one.value, printed.get(one.label, one.value)]
        ends[one.unit] += [] if few else [one.low, one.high]
    parts = []
    for index, row in enumerate(rows):
        middle = (index + 0.5) * LINE
        low, extent = min(ends[row.unit]), max(ends[row.unit]) - min(ends[row.unit]) or 1.0
        position = partial(_position, low=low, scale=(WIDTH - 2 * EDGE) / extent)
        bound, value, left, right = map(position, (row.bound, row.value, row.low, row.high))
        parts.append(_bound(bound, index * LINE, row.below))
        if found.effects:
            parts.append(_circle(value, middle) if few else _bar(left, value, right, middle))
        if row.label in printed:
            parts.append(_diamond(position(printed[row.label]), middle))
    height = len(rows) * LINE
    label = html.escape(" | ".join(_in_words(one, few) for one in found.effects) or "not run", quote=True)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'style="max-width:100%;height:auto;vertical-align:middle">{"".join(parts)}</svg>'
    )


def _drawn(effects: Sequence[Effect]) -> Sequence[Effect]:
    return effects if len(effects) <= MOST else [_nearest(effects)]


def _nearest(effects: Sequence[Effect]) -> Effect:
    """The condition that is nearest to falling."""
    return min(effects, key=lambda one: one.bound - one.high if one.below else one.low - one.bound)


def _seeds(found: Verdict) -> str:
    return f"<br>{note(f'{found.seeds} of {SEEDS} seeds')}" if 0 < found.seeds < SEEDS else ""


def _shown(found: Verdict) -> str:
    notes = [_text(found), f"controls: {found.controls}" if found.controls else ""]
    lines = [strip(found)] + [note(html.escape(text)) for text in notes if text]
    return "<br>".join(line for line in lines if line)


def _text(found: Verdict) -> str:
    """The effect, or of several the one that is nearest to falling; of claims that were not run the paper's."""
    if not found.effects:
        return f"the paper: {_in_words(_nearest(found.printed), True)}" if found.printed else ""
    one = _nearest(found.effects)
    count = f" (the least of {len(found.effects)})" if len(found.effects) > MOST else ""
    return _in_words(one, 0 < found.seeds < SEEDS) + count


def _in_words(one: Effect, alone: bool = False) -> str:
    sign = "" if one.unit.startswith(RATIOS) else "+"
    interval = "" if alone or one.low == one.high else f" [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"
    text = f"{one.label} {one.value:{sign}.2f}{interval} {one.unit}".strip()
    return f"{text}; claim: {'<' if one.below else '>'} {one.bound:g}"


def _position(value: float, low: float, scale: float) -> float:
    return EDGE + (value - low) * scale


def _bound(x: float, top: float, below: bool) -> str:
    """The bound, and the side on which a claim holds."""
    left, width = (0.0, x) if below else (x, WIDTH - x)
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{LINE}" fill="currentColor" opacity="0.1"/>'
        f'<rect x="{x - 0.6:.1f}" y="{top}" width="1.2" height="{LINE}" fill="currentColor"/>'
    )


def _bar(left: float, x: float, right: float, y: float) -> str:
    return (
        f'<rect x="{left:.1f}" y="{y - 1.5}" width="{max(right - left, 1):.1f}" height="3" fill="{INK}"/>'
        f'<circle cx="{x:.1f}" cy="{y}" r="3.2" fill="{INK}"/>'
    )


def _circle(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="3" fill="none" stroke="{INK}" stroke-width="1.5"/>'


def _diamond(x: float, y: float) -> str:
    corners = f"M{x - 4:.1f} {y}L{x:.1f} {y - 4}L{x + 4:.1f} {y}L{x:.1f} {y + 4}Z"
    return f'<path d="{corners}" fill="none" stroke="currentColor" stroke-width="1.2"/>'
