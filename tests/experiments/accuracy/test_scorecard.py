"""From the ledger to Table 1 and its scorecard: the join, the statuses, the comparisons, the verdicts on C1 and C2."""

import pandas as pd
import pytest

from sdnet.experiments.accuracy import scorecard, table1, tables
from sdnet.results import ledger
from sdnet.results.cells import CELL_COLUMNS, to_frame


def cell(**changes: object) -> dict[str, object]:
    base = {
        "arch": "sdnet18", "dataset": "cifar10", "preset": "paper", "width": 64, "epochs": 220, "paper_scale": True,
        "precision": "fp32", "seed": 0, "metric": "top1", "split": "test", "value": 0.952, "n": 10000,
        "started": "2026", "experiment": "train", "variant": "", "stem": None,
    }  # fmt: skip
    return {**base, **changes}


def test_a_recipe_recorded_before_a_number_existed_is_still_the_papers() -> None:
    """The model sizes were counted when recipes had no noise."""
    everything = to_frame(ledger.read())
    sizes = everything[everything["experiment"] == "sizes"]
    assert sizes["paper_scale"].all()
    row = scorecard.find(everything, "cifar10", "sdnet18", "parameters")
    assert row is not None
    assert row.full


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    cells = pd.DataFrame(list(rows))
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


@pytest.mark.parametrize(
    ("changes", "status", "measured"),
    [
        ({"value": 0.9521}, "reproduced", 95.21),
        ({"value": 0.94}, "differs", 94.0),
        ({"width": 16, "paper_scale": False}, "scaled down", 95.2),
        ({"dataset": "cifar10-jpeg"}, "scaled down", 95.2),
        ({"dataset": "digits"}, "not run", None),
        ({"split": "validation"}, "not run", None),
        ({"experiment": "precision", "lam": 1.0}, "not run", None),
        ({"variant": "iterations=1"}, "not run", None),
    ],
)
def test_statuses(changes: dict[str, object], status: str, measured: float | None) -> None:
    cells = frame(cell(**changes))
    table = scorecard.table1(cells)
    row = table[(table["dataset"] == "cifar10") & (table["arch"] == "sdnet18") & (table["metric"] == "top1")].iloc[0]
    assert row["status"] == status
    if measured is not None:
        assert row["measured"] == pytest.approx(measured)
    assert (table.drop(row.name)["status"] == "not run").all()


def test_the_largest_scale_counts_and_seeds_are_averaged() -> None:
    cells = pd.DataFrame(
        [
            cell(width=16, paper_scale=False, value=0.99),
            cell(seed=0, value=0.90),
            cell(seed=0, value=0.94, started="2027"),
            cell(seed=1, value=0.96),
        ]
    )
    answer = scorecard.find(cells, "cifar10", "sdnet18", "top1")
    assert answer is not None
    assert (answer.value, answer.seeds, answer.full) == (pytest.approx(95.0), 2, True)


def test_an_empty_ledger_gives_an_honest_scorecard() -> None:
    table = scorecard.table1(to_frame([]))
    assert (table["status"] == "not run").all()
    assert "not run" in tables.show_scorecard(table).data
    assert "not run" in tables.show_runs([]).data
    assert "not run" in tables.show_comparison(to_frame([]), "sdnet18", "resnet18").data


def test_comparison_pairs_runs_of_one_setting() -> None:
    cells = pd.DataFrame(
        [
            cell(value=0.95), cell(arch="resnet18", value=0.94),
            cell(value=0.80, width=16), cell(arch="resnet18", value=0.81, width=32),
        ]
    )  # fmt: skip
    table = scorecard.comparison(cells, "sdnet18", "resnet18")
    assert len(table) == 1
    assert table["difference"].iloc[0] == pytest.approx(1.0)
    expected = 1.959964 * ((0.95 * 0.05 + 0.94 * 0.06) / 10000) ** 0.5
    assert table["interval"].iloc[0] == pytest.approx(100 * expected)


def test_few_seeds_give_a_wide_interval() -> None:
    """Welch's interval; for equal numbers and variances its degrees of freedom are 2n - 2."""
    values = {"sdnet18": (0.95, 0.96), "resnet18": (0.94, 0.95)}
    cells = pd.DataFrame([cell(arch=a, value=v, seed=s) for a, pair in values.items() for s, v in enumerate(pair)])
    # A row of an experiment without epochs makes the column floating point.
    cells = pd.concat([cells, pd.DataFrame([cell(epochs=None, experiment="benchmark")])])
    row = scorecard.comparison(cells, "sdnet18", "resnet18").iloc[0]
    assert (row["seeds"], row["epochs"]) == (2, 220)
    assert row["difference"] == pytest.approx(1.0)
    assert row["interval"] == pytest.approx(100 * 4.302653 * (0.01**2 / 2) ** 0.5, rel=1e-5)


def test_other_experiments_do_not_answer_for_training_runs() -> None:
    """A sweep over λ also has accuracies on the test split."""
    other = {"experiment": "precision", "value": 0.5, "started": "2027"}
    cells = pd.DataFrame([cell(), cell(arch="resnet18"), cell(**other), cell(arch="resnet18", **other)])
    answer = scorecard.find(cells, "cifar10", "sdnet18", "top1")
    assert answer is not None
    assert answer.value == pytest.approx(95.2)
    assert scorecard.comparison(cells, "sdnet18", "resnet18")["sdnet18"].tolist() == pytest.approx([95.2])


def test_the_speed_of_a_training_run_is_no_benchmark() -> None:
    cells = frame(cell(metric="train_images_per_second", split=None, value=500.0))
    assert (scorecard.table1(cells)["status"] == "not run").all()


def test_scorecard_html_is_the_same_every_time() -> None:
    table = scorecard.table1(frame(cell()))
    first, second = tables.show_scorecard(table).data, tables.show_scorecard(table).data
    assert first == second
    assert "<b>95.20%</b>" in first
    assert "reproduced" in first


def timed(started: str, width: int = 64, **rates: float) -> list[dict[str, object]]:
    """A benchmark's cells: images per second, and a memory of 1 GB per network."""
    base = {
        "experiment": "benchmark", "device": "a CPU", "device_type": "cpu", "started": started, "width": width,
        "stem": "cifar", "batch": 16, "precision": "fp32", "compiled": False,
    }  # fmt: skip
    return [
        {**base, "arch": arch, "metric": metric, "value": value if metric != "train_memory" else 1.0}
        for arch, value in rates.items()
        for metric in ("train_images_per_second", "infer_images_per_second", "train_memory")
    ]


def test_speeds_of_table_1_come_from_one_run() -> None:
    cells = frame(*timed("2026", resnet18=100, sdnet18=90, scn=10), *timed("2027", resnet18=50, sdnet18=45))
    table = scorecard.table1(cells)
    speeds = table[(table["metric"] == "train_images_per_second") & (table["dataset"] == "cifar10")]
    speeds = speeds.set_index("arch")
    assert speeds["measured"].dropna().to_dict() == {"resnet18": 100, "sdnet18": 90, "scn": 10}
    assert speeds.loc["scn", "status"] == "scaled down"
    assert speeds.loc["scn", "scale"] == "width 64, batches of 16, fp32, on a CPU"
    assert speeds.loc["mdeq", "status"] == "not run"
    assert (table.loc[table["dataset"] == "imagenet", "status"] == "not run").all()


def test_table_1_in_full_puts_networks_trained_alike_into_one_column() -> None:
    small = {"dataset": "cifar10-jpeg", "width": 16, "paper_scale": False}
    cells = frame(
        *(cell(arch=arch, epochs=15, value=value, seed=seed, **small)
          for arch, value in (("resnet18", 0.84), ("sdnet18", 0.83)) for seed in (0, 1)),
        *(cell(arch=arch, epochs=1, value=value, **small)
          for arch, value in (("resnet18", 0.5), ("sdnet18", 0.45), ("scn", 0.3))),
        cell(arch="mdeq", epochs=1, value=0.99, variant="iterations=3", **small),
        cell(arch="scn18", epochs=7, value=0.98, **small),
        *timed("2026", resnet18=100, sdnet18=90, scn=10),
    )  # fmt: skip
    table = table1.in_full(cells, "cifar10").set_index("network")
    assert list(table.index) == ["ResNet-18", "ResNet-34", "MDEQ", "SCN", "SCN-18", "SDNet-18", "SDNet-34"]
    one, fifteen = [column for column in table.columns if "epoch" in column]
    assert "1 epoch," in one
    assert "15 epochs" in fifteen
    assert str(table.loc["ResNet-18", fifteen]) == "84.00 % (2)"
    assert str(table.loc["SCN", one]) == "30.00 %"
    assert "not run" in table.loc["SCN", fifteen]
    assert "not run" in table.loc["MDEQ", one]
    assert "98" not in "".join(map(str, table[one]))  # alone at its scale
    assert table.loc["SCN", "paper"] == table1.paper_prints("94.36 %")
    assert str(table.loc["SCN", "training"]) == f"{table1.paper_prints('39 /s (×0.02)')}<br>10.0 /s (×0.10)"
    assert str(table.loc["SCN", "inference"]) == "10.0 /s (×0.10)"
    assert "not run" in table.loc["MDEQ", "training"]
    spread = cells.assign(low=cells["value"] / 2, high=2 * cells["value"])
    assert "5.0 – 20.0" in table1.show_in_full(spread, "cifar10").content
    html = table1.show_in_full(cells, "cifar10").data
    assert "width 64, batches of 16, fp32, on a CPU" in html
    assert "not run" in table1.show_in_full(to_frame([]), "imagenet").data


def test_a_size_stands_below_the_papers_for_the_same_network() -> None:
    sizes = table1.in_full(to_frame(ledger.read()), "cifar10").set_index("network")["size"].astype(str)
    for network, printed, counted in (("ResNet-34", "21.1 M", "21.28 M"), ("MDEQ", "11.1 M", "11.10 M")):
        assert sizes[network] == f"{table1.paper_prints(printed)}<br>{counted}"


def test_smaller_images_have_a_column_in_imagenets_block_and_answer_for_none_of_its_numbers() -> None:
    small = {"dataset": "tiny-imagenet-32", "width": 16, "paper_scale": False, "epochs": 3}
    cells = frame(cell(arch="resnet18", value=0.19, **small), cell(arch="sdnet18", value=0.2, **small))
    table = table1.in_full(cells, "imagenet").set_index("network")
    (column,) = [column for column in table.columns if column.startswith("tiny-imagenet-32")]
    assert str(table.loc["SDNet-18", column]) == "20.00 %"
    assert not [column for column in table1.in_full(cells, "cifar10").columns if "tiny" in column]
    score = scorecard.table1(cells)
    assert (score["status"] == "not run").all()
