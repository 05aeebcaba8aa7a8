"""Anderson acceleration and the phantom gradient on problems with a closed form, and the network."""

import pytest
import torch

from sdnet import models
from sdnet.models.mdeq import MDEQ, anderson, phantom


def contraction(rows: int, size: int, norm: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z ← A z + b per row, and its fixed point."""
    matrix = torch.randn(size, size).double()
    matrix += matrix.T.clone()
    matrix *= norm / torch.linalg.matrix_norm(matrix, 2)
    offset = torch.randn(rows, size).double()
    return matrix, offset, torch.linalg.solve(torch.eye(size).double() - matrix, offset.T).T


def test_anderson_finds_the_fixed_point_faster_than_repetition() -> None:
    matrix, offset, fixed = contraction(3, 12, 0.95)
    start = torch.zeros_like(offset)
    found = anderson(lambda z: z @ matrix.T + offset, start, 18)
    repeated = start
    for _ in range(18):
        repeated = repeated @ matrix.T + offset
    errors = [(z - fixed).norm(dim=1) for z in (found, repeated)]
    assert (errors[0] < 0.05 * errors[1]).all()


def test_anderson_converges_to_rounding_and_stays() -> None:
    matrix, offset, fixed = contraction(2, 5, 0.5)
    found = anderson(lambda z: z @ matrix.T + offset, torch.zeros_like(offset), 60)
    torch.testing.assert_close(found, fixed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_anderson_converges_under_autocast(dtype: torch.dtype) -> None:
    """To bfloat16's rounding; residuals are parallel there, and their Gram matrix must not become singular."""
    matrix, offset, fixed = contraction(3, 12, 0.9)
    matrix, offset = matrix.float(), offset.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = anderson(lambda z: (z @ matrix.T + offset).to(dtype), torch.zeros_like(offset), 40)
    assert found.dtype == dtype
    assert ((found - fixed).norm(dim=1) < 0.05 * fixed.norm(dim=1)).all()


def test_what_is_not_finite_stays_so_without_an_error() -> None:
    offset = torch.full((2, 4), torch.nan)
    assert anderson(lambda z: 0.5 * z + offset, torch.zeros(2, 4), 4).isnan().all()


def test_the_network_has_finite_gradients_under_autocast() -> None:
    network = MDEQ(10, width=4, iterations=18)
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(torch.rand(4, 3, 16, 16))
    scores.float().square().sum().backward()
    assert scores.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_row_does_not_depend_on_the_others() -> None:
    matrix, offset, _ = contraction(4, 6, 0.9)
    together = anderson(lambda z: z @ matrix.T + offset, torch.zeros_like(offset), 7)
    alone = anderson(lambda z: z @ matrix.T + offset[:1], torch.zeros_like(offset[:1]), 7)
    torch.testing.assert_close(together[:1], alone)


def test_the_phantom_gradient_is_the_damped_series() -> None:
    """Σ_k τ (I − τ (I − A))^k over five steps, the start of the Neumann series of τ⁻¹-scaled (I − A)⁻¹."""
    matrix, offset, fixed = contraction(1, 4, 0.4)
    offset.requires_grad_()
    state = phantom(lambda z: z @ matrix.T + offset, fixed)
    torch.testing.assert_close(state.detach(), fixed)
    seed = torch.randn(1, 4).double()
    (gradient,) = torch.autograd.grad((state * seed).sum(), offset)
    eye = torch.eye(4).double()
    series = sum(0.7 * torch.linalg.matrix_power(0.3 * eye + 0.7 * matrix, k) for k in range(5))
    torch.testing.assert_close(gradient, seed @ series)
    exact = torch.linalg.solve((eye - matrix).T, seed.T).T
    assert torch.cosine_similarity(gradient, exact) > 0.99


def test_second_derivatives_are_refused() -> None:
    """The network's lacked how the fixed point moves with the weights, and no error."""
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    with pytest.raises(ValueError, match=r"create_graph must be False .*; got True; for second derivatives"):
        torch.autograd.grad(MDEQ(10, width=4, iterations=2)(images).sum(), images, create_graph=True)


@pytest.mark.parametrize(("classes", "count"), [(10, 11_098_398), (100, 11_249_688)])
def test_the_full_size_is_the_originals(classes: int, count: int) -> None:
    """Table 1 prints 11.1 M and 11.2 M."""
    with torch.device("meta"):
        assert models.parameter_count(MDEQ(classes)) == count


def test_an_image_is_classified_alike_in_any_batch_and_with_or_without_gradients() -> None:
    network = MDEQ(10, width=2, iterations=3).eval()
    images = torch.rand(4, 3, 9, 11)
    scores = network(images)
    torch.testing.assert_close(scores[:1], network(images[:1]))
    with torch.no_grad():
        torch.testing.assert_close(network(images), scores)


def test_the_states_are_a_fixed_point_of_the_cell() -> None:
    """For a cell that contracts: the blocks' own output is nearly constant, the states that come back are small."""
    network = MDEQ(10, width=4, iterations=60).double().eval()
    with torch.no_grad():
        for block, output in zip(network.cell.blocks, network.cell.outputs, strict=True):
            block.norm1.weight.fill_(0.01)
            block.norm1.bias.fill_(1.0)
            output[2].weight.fill_(0.1)
        injection = network.stem(torch.rand(2, 3, 16, 17).double())
        states = network.equilibrium(injection)
        again = network.cell(states, injection)
    assert [state.shape[1:] for state in states] == [(2, 16, 17), (4, 8, 9), (8, 4, 5), (16, 2, 3)]
    for state, image in zip(states, again, strict=True):
        assert (state - image).norm() < 1e-6 * state.norm()


def test_iterations_are_eighteen_or_another_positive_number() -> None:
    assert MDEQ(10, width=2).iterations == 18
    with pytest.raises(ValueError, match="iterations must be an integer >= 1; got 0"):
        MDEQ(10, iterations=0)
