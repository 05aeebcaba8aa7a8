"""SCN's layer against other solvers and other gradients, and the network."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Lasso
from torch.autograd import gradcheck

from sdnet import models, project_
from sdnet.csc.lam import at_lams
from sdnet.data.batches import training_batches
from sdnet.data.datasets import load
from sdnet.models.scn import SCN, PatchCoding2d, largest_eigenvalue, nonnegative_lasso, solve_on_support
from sdnet.training import loop


def layer(iterations: int = 50, lam: float = 0.1, channels: int = 2, atoms: int = 6, **options: Any) -> PatchCoding2d:
    coding = PatchCoding2d(channels, atoms, 3, padding=1, lam=lam, iterations=iterations, **options).double()
    with torch.no_grad():
        coding.weight.copy_(torch.randn_like(coding.weight) / 3)
    return coding


@pytest.mark.parametrize("atoms", [6, 30])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_code_of_every_patch_is_scikit_learns(atoms: int, stride: int) -> None:
    """Fewer atoms than the 18 values of a patch, and more."""
    coding, signal = layer(20_000, atoms=atoms, stride=stride), torch.randn(2, 2, 5, 6).double()
    codes = coding(signal).detach()
    patches = F.unfold(signal, 3, padding=1, stride=stride).transpose(1, 2).flatten(0, 1).numpy()
    matrix = coding.weight.detach().flatten(1).T.numpy()
    judge = Lasso(alpha=0.1 / len(matrix), positive=True, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    expected = np.stack([judge.fit(matrix, patch).coef_ for patch in patches])
    found = codes.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    assert found.shape == expected.shape
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_gradients_of_signal_atoms_and_lam_are_finite_differences() -> None:
    coding, signal = layer(1500, lam=0.05), torch.randn(1, 2, 3, 3).double().requires_grad_()
    weight, lam = coding.weight, coding.lam

    def codes(signal: torch.Tensor, weight: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(coding, {"weight": weight, "lam": lam}, (signal,))

    assert gradcheck(codes, (signal, weight, lam), atol=1e-4)


def test_second_derivatives_are_refused() -> None:
    """‖∂Σz/∂x‖² by the atoms, through a gradient that needs none: it lacked how β moves with them, and no error."""
    coding, signal = layer(), torch.randn(1, 2, 3, 3).double().requires_grad_()
    with pytest.raises(ValueError, match=r"create_graph must be False .*; got True; for second derivatives"):
        torch.autograd.grad(coding(signal).sum(), signal, create_graph=True)


def test_fifty_steps_have_nearly_the_gradient_of_the_unrolled_steps() -> None:
    """With fewer atoms than values, as in all of SCN's layers, fifty steps are close to the minimiser."""
    coding, rows = layer(atoms=6), torch.randn(40, 18).double()
    atoms = coding.weight.detach().flatten(1).requires_grad_()
    seed = torch.randn(40, 6).double()
    codes = nonnegative_lasso(rows @ atoms.T, atoms @ atoms.T, coding.lam, 50)
    (implicit,) = torch.autograd.grad((codes * seed).sum(), atoms)
    gram = atoms @ atoms.T
    largest = torch.linalg.eigvalsh(gram.detach())[-1]
    code = point = torch.zeros(40, 6).double()
    t = 1.0
    for _ in range(50):
        previous, code = code, torch.relu(point - (point @ gram - rows @ atoms.T + 0.1) / largest)
        t, last = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
        point = code + (last - 1) / t * (code - previous)
    torch.testing.assert_close(codes, code)
    (unrolled,) = torch.autograd.grad((code * seed).sum(), atoms)
    torch.testing.assert_close(implicit, unrolled, rtol=0.01, atol=0.01 * unrolled.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("shape", [(6, 18), (256, 576), (64, 27)])
def test_the_largest_eigenvalue_is_met_from_above(dtype: torch.dtype, scale: float, shape: tuple[int, int]) -> None:
    atoms = torch.randn(shape, dtype=dtype)
    gram = scale * atoms @ atoms.T
    exact, rounding = torch.linalg.eigvalsh(gram.double())[-1].item(), 16 * torch.finfo(dtype).eps
    assert 1 - rounding < largest_eigenvalue(gram).item() / exact < 1 + 4e-5


def test_the_largest_eigenvalue_of_special_matrices() -> None:
    eye, tiny = torch.eye(256), torch.finfo(torch.float32).tiny
    assert 1 - 1e-6 < largest_eigenvalue(eye) < 1 + 5e-5  # all eigenvalues are equal: the worst case
    assert largest_eigenvalue(0 * eye) == tiny
    assert largest_eigenvalue(torch.nan * eye).isnan()


def test_codes_of_what_is_not_finite_are_not_either() -> None:
    gram = torch.full((3, 3), torch.nan, requires_grad=True)
    codes = nonnegative_lasso(torch.rand(5, 3), gram, torch.tensor(0.1), 4)
    assert codes.isnan().all()
    codes.sum().backward()
    coding = PatchCoding2d(2, 6, 3, padding=1)
    torch.nn.init.constant_(coding.weight, torch.inf)
    assert coding(torch.rand(1, 2, 5, 5)).isnan().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_signal_or_lam_that_is_not_finite_is_refused(value: float) -> None:
    coding, signal = PatchCoding2d(2, 6, 3, padding=1), torch.rand(1, 2, 5, 5)
    for door in (coding, coding.residual, lambda wrong: at_lams(coding, torch.tensor([0.1, 0.2]), wrong)):
        with pytest.raises(ValueError, match="signal must be finite; it holds NaN or infinity"):
            door(signal.clone().fill_(value))
    coding.lam.data.fill_(value)
    with pytest.raises(ValueError, match="lam must be finite and >= 0"):
        coding(signal)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-3)])
def test_the_backward_solve_is_the_dense_one(dtype: torch.dtype, tolerance: float) -> None:
    atoms, ridge = torch.randn(24, 40, dtype=dtype) / 6, torch.tensor(1e-3, dtype=dtype)
    gram, support, gradient = atoms @ atoms.T, torch.rand(50, 24) < 0.5, torch.randn(50, 24, dtype=dtype)
    support[0] = False
    found = solve_on_support(gram, support, gradient, ridge)
    for row, active in enumerate(support):
        block = gram[active][:, active] + ridge * torch.eye(int(active.sum()), dtype=dtype)
        expected = torch.linalg.solve(block, gradient[row, active])
        torch.testing.assert_close(found[row, active], expected, rtol=tolerance, atol=tolerance * 10)
        assert not found[row, ~active].any()


def test_patches_are_coded_alike_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    coding, signal = layer(), torch.randn(2, 2, 5, 5).double().requires_grad_()
    whole = coding(signal)
    (gradient,) = torch.autograd.grad(whole.square().sum(), signal)
    monkeypatch.setattr("sdnet.models.scn.ROWS", 7)
    parts = coding(signal)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), signal)[0], gradient, rtol=1e-5, atol=1e-7)


def test_lam_is_learned_and_projected() -> None:
    coding = layer(lam=0.01)
    optimizer = torch.optim.SGD(coding.parameters(), lr=10.0)
    (-coding(torch.randn(4, 2, 5, 5).double()).sum()).backward()  # more code: less λ
    optimizer.step()
    before = coding.weight.detach().clone()
    assert coding.lam < 0
    project_(coding)
    assert coding.lam == 0
    assert torch.equal(coding.weight, before)


def test_the_rate_of_lam_scales_its_gradient_only() -> None:
    signal = torch.randn(4, 2, 5, 5).double()
    gradients = []
    for rate in (1.0, 0.25):
        torch.manual_seed(0)
        coding = layer(lam=0.05, lam_rate=rate)
        codes = coding(signal)
        gradients.append((codes.detach(), *torch.autograd.grad(codes.square().sum(), (coding.weight, coding.lam))))
    (codes, weight, lam), (same_codes, same_weight, less) = gradients
    assert torch.equal(codes, same_codes)
    assert torch.equal(weight, same_weight)
    torch.testing.assert_close(less, lam / 4)


@pytest.mark.slow
def test_training_scn18_at_the_recipes_rate_leaves_codes_alive() -> None:
    """With λ learned at the full rate they are all zero after these steps."""
    torch.manual_seed(0)
    digits, model = load("digits").train, models.build("scn18", 10, width=2, iterations=10)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    coding = model.stem[0]
    for images, labels in training_batches(digits, 128, seed=0, epoch=0, flip=False):
        loop.training_step(model, optimizer, images, labels, 0.1, "fp32")
    assert (coding(model.normalize(images)) > 0).float().mean() > 0.05


def test_codes_are_float32_under_autocast() -> None:
    coding = PatchCoding2d(2, 6, 3, padding=1)
    signal = torch.randn(2, 2, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = coding(signal)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, coding(signal))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": -1.0}, "lam must be finite and >= 0; got -1.0"),
        ({"lam_rate": 0.0}, "lam_rate must be finite and positive; got 0.0"),
        ({"iterations": 0}, "iterations must be an integer >= 1; got 0"),
        ({"bias": True}, "bias must be False"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatchCoding2d(2, 6, 3, **options)  # type: ignore[arg-type]


def test_the_network_has_the_authors_layers() -> None:
    network = SCN(10)
    codings = [module for module in network.modules() if isinstance(module, PatchCoding2d)]
    assert [coding.out_channels for coding in codings] == [16, 64] * 3 + [32, 128] * 2 + [64, 256] * 2
    assert [coding.stride for coding in codings] == [1] * 6 + [2, 1, 1, 1] * 2
    assert not any(True for module in network.layers for _ in module.parameters() if "Norm" in type(module).__name__)
    assert models.parameter_count(network) == 694_216  # 691,632 of the atoms, 14 λ, 2,570 of the classifier


def test_an_image_is_classified_alike_in_any_batch() -> None:
    network = SCN(10, width=8, iterations=5).eval()
    images = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(network(images)[:2], network(images[:2]))
