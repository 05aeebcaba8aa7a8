"""Which runs fit into a budget, in which order: the most valuable that is ready, whenever a worker is free."""

import heapq
from collections.abc import Sequence

from sdnet.experiments.campaign.runs import network_file
from sdnet.experiments.campaign.status import Standing


def fits(one: Standing, seconds: float) -> bool:
    """Whether a run may start when so much time is left. One of unknown cost may: it is stopped when time is up."""
    return one.left.seconds is None or one.left.seconds <= seconds


def plan(waiting: Sequence[Standing], budget: float, workers: int) -> list[Standing]:
    """What a campaign would start, if every run took as long as estimated (and one of unknown cost no time).

    Args:
        waiting: unfinished runs, the most valuable first.
        budget: wall time in seconds.
        workers: runs at a time.
    """
    free, ends, chosen, left = [0.0] * workers, dict[str, float](), list[Standing](), list(waiting)
    made = {one.run.makes for one in left if one.run.makes}
    here = {training.name for one in left for training in one.run.needs if network_file(training) is not None}
    while free:
        now = heapq.heappop(free)
        ready = (
            one
            for one in left
            if fits(one, budget - now)
            and all(
                training.name in here or (training.name in made and ends.get(training.name, budget + 1) <= now)
                for training in one.run.needs
            )
        )
        one = next(ready, None)
        if one is not None:
            left.remove(one)
            chosen.append(one)
            end = now + (one.left.seconds or 0)
            ends[one.run.makes or one.run.name] = end
            heapq.heappush(free, end)
        elif later := [end for end in ends.values() if end > now]:
            heapq.heappush(free, min(later))
    return chosen
