"""What networks are made of: layers, sizes, arithmetic, and the page that shows them."""

from pathlib import Path

import pytest

from sdnet.experiments.architectures import diagram
from sdnet.experiments.architectures.sizes import record_sizes
from sdnet.models import ARCHITECTURES
from sdnet.models.anatomy import Anatomy, anatomy
from sdnet.results import ledger
from sdnet.results.cells import to_frame


def test_flops_are_those_of_the_convolutions() -> None:
    """ResNet-18 on 32×32 images: stem, then per stage 3×3 convolutions and a 1×1 shortcut; two FLOPs per product."""
    products = 27 * 64 * 32**2 + 4 * 9 * 64**2 * 32**2 + 512 * 10
    for channels, side in ((128, 16), (256, 8), (512, 4)):
        half = channels // 2
        products += (9 * half * channels + 3 * 9 * channels**2 + half * channels) * side**2
    assert anatomy("resnet18").flops == 2 * products


def test_flops_of_coding_count_every_step() -> None:
    """FISTA's first step starts from zero and needs no product with the Gram matrix; that matrix is one product."""
    more, fewer = (anatomy("scn", width=8, size=16, iterations=n).flops for n in (11, 10))
    squares = 3 * (2**2 + 8**2) * 16**2 + 2 * (4**2 + 16**2) * 8**2 + 2 * (8**2 + 32**2) * 4**2
    assert more - fewer == 2 * squares


def test_the_layers_are_found_in_order() -> None:
    scn = anatomy("scn", width=16, size=16, iterations=1)
    assert {part.kind for part in scn.parts} == {"patch coding layer"}
    assert [part.outputs[0] for part in scn.parts[:8]] == [(4, 16), (16, 16)] * 3 + [(8, 8), (32, 8)]
    kinds = [part.kind for part in anatomy("sdnet18", width=4, size=8).parts]
    assert kinds == ["CSC layer"] + 16 * ["convolution"]
    mdeq = anatomy("mdeq", width=16, size=16, iterations=3)
    (cell,) = [part for part in mdeq.parts if part.kind == "equilibrium cell"]
    assert cell.outputs == ((8, 16), (16, 8), (32, 4), (64, 2))
    assert cell.calls == 3 + 5
    assert anatomy("scn18", width=4).parameters == anatomy("resnet18", width=4).parameters + 1


@pytest.fixture(scope="module")
def networks() -> dict[str, Anatomy]:
    steps = {"resnet18": {}, "scn": {"iterations": 1}, "mdeq": {"iterations": 3}}
    return {ARCHITECTURES[arch].label: anatomy(arch, width=4, size=16, **some) for arch, some in steps.items()}


def test_the_diagram_has_a_bar_per_layer_and_resolution(networks: dict[str, Anatomy]) -> None:
    figure = diagram.diagram(networks)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(networks)
    bars = [sum(type(patch).__name__ == "Rectangle" for patch in ax.patches) for ax in figure.axes]
    assert bars == [17, 14, sum(len(part.outputs) for part in networks["MDEQ"].parts)]
    assert "8 times" in [text.get_text() for text in figure.axes[2].texts]


def test_the_table_sets_the_papers_size_beside_ours(networks: dict[str, Anatomy]) -> None:
    table = diagram.show_sizes(networks, {"ResNet-18": "resnet18", "SCN": "scn", "MDEQ": "nobody"}).data
    assert "11.2 M" in table
    assert "0.7 M" in table
    assert "14 patch coding layers" in table
    assert "19 convolutions, 1 equilibrium cell" in table
    assert "× ResNet-18" in table
    assert ">1.00<" in table


def test_sizes_are_recorded(folders: Path) -> None:
    path = record_sizes()
    (record,) = ledger.read(path.parent)
    sizes = {(cell["dataset"], cell["arch"]): cell["value"] for cell in record.results}
    assert sizes["cifar10", "sdnet18"] == 11_173_962
    assert to_frame([record])["paper_scale"].all()
