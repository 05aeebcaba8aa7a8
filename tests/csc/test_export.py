"""A network leaves PyTorch with λ as an input and computes the same elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdnet import CSCConv2d, set_lam, to_onnx
from sdnet.csc.export import WithLam
from sdnet.models import build


@pytest.mark.parametrize("iterations", [2, 4])
@torch.no_grad()
def test_onnx_with_lam_as_an_input_agrees_with_onnxruntime(tmp_path: Path, iterations: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = build("sdnet18", width=4, atoms=8, iterations=iterations)
    to_onnx(model, torch.rand(1, 3, 16, 16), tmp_path / "sdnet.onnx")
    assert model.training  # as it was before
    model.eval()
    session = onnxruntime.InferenceSession(tmp_path / "sdnet.onnx")
    assert [node.name for node in session.get_inputs()] == ["images", "lam"]
    results = {}
    for lam in (0.0, 0.1, 0.7):
        set_lam(model, lam)
        for count in (1, 4):
            images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
            (scores,) = session.run(None, {"images": images.numpy(), "lam": torch.tensor(lam).numpy()})
            torch.testing.assert_close(torch.from_numpy(scores), model(images), rtol=1e-4, atol=1e-5)
            results[lam] = scores
    assert abs(results[0.0] - results[0.7]).max() > 1e-3  # λ is not a constant of the file


@torch.no_grad()
def test_lam_as_an_argument_equals_set_lam_and_changes_nothing() -> None:
    model = build("sdnet18_all", width=4, atoms=8).eval()
    images = torch.rand(2, 3, 16, 16)
    before = model(images)
    with_lam = WithLam(model)(images, torch.tensor(0.4))
    assert torch.equal(model(images), before)
    set_lam(model, 0.4)
    assert torch.equal(model(images), with_lam)


def test_a_single_layer_is_a_network_too() -> None:
    layer = CSCConv2d(3, 4, 3)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(WithLam(layer)(images, torch.tensor(0.1)), layer(images))


def test_a_network_without_csc_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model must hold a CSC layer"):
        to_onnx(nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8), tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="model must hold a CSC layer"):
        to_onnx("sdnet18", torch.rand(1, 3, 8, 8), tmp_path / "none.onnx")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            torch.rand(0, 3, 8, 8),
            r"example must be a tensor of at least one image, \(N, M, ...\); got shape \(0, 3, 8, 8\)",
        ),
        (torch.rand(1, 3, 8, 8).numpy(), "example must be a tensor of at least one image, .* got ndarray"),
        (torch.rand(3, 8, 8), r"signal must have shape \(images, 3, size, size\); got \(2, 8, 8\)"),
        (torch.rand(1, 5, 8, 8), r"signal must have shape \(images, 3, size, size\); got \(2, 5, 8, 8\)"),
        (torch.ones(1, 3, 8, 8, dtype=torch.uint8), "signal must be floating point; got torch.uint8"),
        (torch.rand(1, 3, 8, 8).double(), "signal must have the type of the atoms, torch.float32; got torch.float64"),
    ],
    ids=["empty", "numpy", "no batch", "channels", "uint8", "double"],
)
def test_an_example_that_the_network_cannot_take_is_refused(example: Any, message: str, tmp_path: Path) -> None:
    layer = CSCConv2d(3, 8, 3)
    with pytest.raises(ValueError, match=message):
        to_onnx(layer, example, tmp_path / "none.onnx")
    assert layer.training
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "message"), [(None, "path must be text; got None"), ("no/a.onnx", "no folder no for")]
)
def test_a_path_to_nowhere_is_refused(path: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_onnx(CSCConv2d(3, 8, 3), torch.rand(1, 3, 8, 8), path)


@pytest.mark.parametrize("gradient", ["unrolled", "checkpointed"])
@torch.no_grad()
def test_torch_export(gradient: str) -> None:
    layer = CSCConv2d(3, 8, 3, stride=2, padding=1, iterations=3, gradient=gradient).eval()
    images = torch.rand(2, 3, 9, 8)
    program = torch.export.export(layer, (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    for count in (2, 5):
        images = torch.rand(count, 3, 9, 8)
        torch.testing.assert_close(program.module()(images), layer(images))
