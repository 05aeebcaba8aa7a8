"""The performance page: targets are judged on the latest run of the right device, figures draw the cells."""

import pandas as pd
import pytest

from sdnet.experiments.claims import speed
from sdnet.experiments.performance import targets
from sdnet.experiments.performance.benchmarks import benchmark_of
from sdnet.experiments.performance.targets import Target, measured
from sdnet.results.cells import CELL_COLUMNS, to_frame


def row(**changes: object) -> dict[str, object]:
    base = {
        "experiment": "benchmark", "device": "some CPU", "device_type": "cpu", "started": "2026", "width": 64,
        "compiled": False, "metric": "train_speed_ratio", "arch": "sdnet18", "value": 0.97, "low": 0.95, "high": 0.99,
        "baseline": "resnet18",
    }  # fmt: skip
    return {**base, **changes}


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    cells = pd.DataFrame(list(rows))
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


SPEED = Target("", "train_speed_ratio", "sdnet18", "cpu", 0.96, where=(("width", 64),))


def test_the_latest_run_of_the_right_kind_answers() -> None:
    cells = frame(
        row(), row(value=0.5, started="2025"), row(value=0.1, width=16), row(value=0.2, compiled="default"),
        row(value=0.3, device_type="cuda"), row(value=0.4, arch="resnet18"),
    )  # fmt: skip
    assert measured(cells, SPEED)[:4] == (0.97, 0.95, 0.99, "some CPU")
    assert measured(frame(row(width=16)), SPEED) is None


def test_a_network_alone_and_large_photographs_answer_for_no_target_of_cifar() -> None:
    memory = row(metric="train_memory", value=9.0, batch=512, started="2030")
    cells = frame(
        row(), row(value=1.0, baseline="sdnet18", batch=512), row(value=0.3, stem="imagenet", batch=512), memory,
        {**memory, "stem": "imagenet"}, {**memory, "stem": "imagenet", "arch": "resnet18"},
    )  # fmt: skip
    assert measured(cells, SPEED)[:4] == (0.97, 0.95, 0.99, "some CPU")
    assert measured(cells, Target("", "train_memory", "sdnet18", "cpu", 1.05, False)) is None
    assert speed.as_fast_and_small(cells)[0].verdict == "not run"


def test_a_small_batch_does_not_replace_a_large_one() -> None:
    memory = {"metric": "train_memory", "low": None, "high": None}
    cells = frame(
        row(batch=128), row(value=0.5, batch=16, started="2027"),
        row(**memory, value=1.1, batch=128), row(**memory, arch="resnet18", value=1.0, batch=128),
        row(**memory, value=9.0, batch=16, started="2027"), row(**memory, arch="resnet18", batch=16, started="2027"),
        *(row(**memory, arch=arch, value=5.0, batch=512, compiled="default") for arch in ("sdnet18", "resnet18")),
    )  # fmt: skip
    assert measured(cells, SPEED)[:4] == (0.97, 0.95, 0.99, "some CPU")
    assert measured(cells, Target("", "train_memory", "sdnet18", "cpu", 1.05, False))[0] == pytest.approx(1.1)


def test_ratios_of_memory_and_to_the_authors_code_are_within_one_run() -> None:
    memory = {"metric": "train_memory", "low": None, "high": None}
    cells = frame(
        row(**memory, value=2.1), row(**memory, arch="resnet18", value=2.0), row(**memory, value=9.0, started="2025"),
        row(metric="train_images_per_second", value=300.0, low=290.0, high=310.0),
        row(metric="train_images_per_second", value=100.0, low=90.0, high=110.0, arch="sdnet18_authors"),
        row(metric="train_images_per_second", value=900.0, started="2027"),
        *(row(metric="gradient_memory", case="implicit", at=at, value=v) for at, v in ((2, 10), (128, 10.5))),
    )  # fmt: skip
    assert measured(cells, Target("", "train_memory", "sdnet18", "cpu", 1.05, False))[0] == pytest.approx(1.05)
    found = measured(cells, Target("", "over authors", "sdnet18", "cpu", 1.5))
    assert found[:3] == pytest.approx((3.0, 290 / 110, 310 / 90))
    assert measured(cells, Target("", "gradient_memory", "implicit", "cpu", 1.1, False))[0] == pytest.approx(1.05)


def test_targets_say_met_not_met_and_not_run() -> None:
    table = targets.show_targets(frame(row(), row(width=16, value=0.8))).content
    cells = [part.split("<")[0].strip() for part in table.split(">")]
    assert cells.count("met") == 1
    assert cells.count("not met") == 1
    assert "not run" in table
    assert "not run" in targets.show_targets(to_frame([])).data


def rates(sdnet: float, scn: float | None, **changes: object) -> list[dict[str, object]]:
    base = {"stem": "cifar", "batch": 16, "precision": "fp32", **changes}
    values = {"resnet18": 2 * sdnet, "sdnet18": sdnet, **({"scn": scn} if scn else {})}
    modes = ("train", "infer")
    return [
        row(metric=f"{mode}_images_per_second", arch=a, value=v, **base) for mode in modes for a, v in values.items()
    ]


def test_the_benchmark_of_several_networks_times_them_all_on_the_best_device() -> None:
    cells = frame(
        *rates(100.0, 5.0), *rates(100.0, 1.0, width=16, started="2028"), *rates(100.0, None, started="2027"),
        *rates(100.0, 2.0, stem="imagenet", started="2029"), *rates(100.0, 2.0, compiled="default", started="2030"),
    )  # fmt: skip
    assert speed.faster_than_scn(cells)[0].numbers.startswith("20.0 ")
    fast = frame(*cells.to_dict("records"), *rates(300.0, 100.0, device_type="cuda", width=16, started="2020"))
    assert speed.faster_than_scn(fast)[0].numbers.startswith("3.0 ")
    assert benchmark_of(to_frame([]), ("scn",)) is None


def test_scaling_draws_every_axis_and_the_expected_slope() -> None:
    rows = [
        row(metric="images_per_second", axis=axis, at=at, case="CSC layer", value=64 / at, low=60 / at, high=70 / at)
        for axis in targets.SLOPES
        for at in (1, 2, 4)
    ]
    figure = targets.scaling(frame(*rows))
    assert [ax.get_xlabel() for ax in figure.axes] == list(targets.SLOPES)
    expected = [line for line in figure.axes[3].lines if line.get_linestyle() == "--"]
    assert expected[0].get_ydata() == pytest.approx([64, 32, 16])
    assert targets.scaling(to_frame([]))
