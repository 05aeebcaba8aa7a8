"""Analysis is the convolution of deep learning, and synthesis is its exact adjoint, for every geometry."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import nn

from sdnet.csc.dictionary import Dictionary, dense_matrix, unit_norm

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
SIZES = {1: [(7,), (12,), (13,)], 2: [(7, 8), (12, 9)]}
CHANNELS = {1: (3, 5), 2: (4, 6)}


def pairs(padding: int | str, kernel: int, dilation: int, dims: int) -> tuple[tuple[int, int], ...]:
    span = dilation * (kernel - 1)
    one = {"same": (span // 2, span - span // 2), "valid": (0, 0)}.get(padding, (padding, padding))
    return (one,) * dims


def geometries(dims: int, stride: int, dilation: int, mode: str) -> Iterator[tuple[Dictionary, nn.Module, str]]:
    """Every dictionary of the grid with the nn.Conv that its analysis must equal, and a name."""
    for groups, kernel, padding in product((1, 2), (1, 2, 3, 4), (0, 1, 2, "same", "valid")):
        if padding == "same" and stride > 1:
            continue  # nn.Conv has no such thing
        signal, code = CHANNELS[groups]
        conv = CONVS[dims](
            signal, code, kernel, stride, padding, dilation, groups, bias=False, padding_mode=mode, dtype=torch.float64
        )
        dictionary = Dictionary(
            conv.weight, (stride,) * dims, pairs(padding, kernel, dilation, dims), (dilation,) * dims, groups, mode
        )
        yield dictionary, conv, f"groups={groups} kernel={kernel} padding={padding}"


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # nn.Conv's, not ours
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dims", [1, 2], ids=["1d", "2d"])
@torch.no_grad()
def test_synthesis_is_the_adjoint_of_analysis(dims: int, stride: int, dilation: int, mode: str) -> None:
    generator = torch.Generator().manual_seed(0)
    checked = 0
    for dictionary, conv, name in geometries(dims, stride, dilation, mode):
        for size in SIZES[dims]:
            if dilation * (dictionary.weight.shape[2] - 1) + 1 > min(size):
                continue
            x = torch.randn(2, dictionary.signal_channels, *size, dtype=torch.float64, generator=generator)
            analysed = dictionary.analysis(x)
            assert analysed.shape[2:] == dictionary.code_size(size), name
            torch.testing.assert_close(analysed, conv(x), rtol=0, atol=1e-12, msg=name)
            z = torch.randn(analysed.shape, dtype=torch.float64, generator=generator)
            synthesised = dictionary.synthesis(z, size)
            assert synthesised.shape == x.shape, name
            left, right = (synthesised * x).sum(), (z * analysed).sum()
            assert abs(left - right) <= 1e-12 * synthesised.norm() * x.norm() + 1e-13, name
            checked += 1
    assert checked > 40


@torch.no_grad()
def test_unequal_geometry_in_the_two_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 2, 3, 4, dtype=torch.float64, generator=generator)
    for mode in ("zeros", "circular"):
        dictionary = Dictionary(weight, (2, 3), ((1, 0), (2, 3)), (2, 1), 3, mode)
        x = torch.randn(2, 6, 9, 11, dtype=torch.float64, generator=generator)
        analysed = dictionary.analysis(x)
        assert analysed.shape[2:] == dictionary.code_size((9, 11)) == (3, 5)
        z = torch.randn(analysed.shape, dtype=torch.float64, generator=generator)
        synthesised = dictionary.synthesis(z, (9, 11))
        torch.testing.assert_close((synthesised * x).sum(), (z * analysed).sum(), rtol=1e-12, atol=1e-12)


def test_several_signal_sizes_share_a_code_size_and_are_told_apart() -> None:
    dictionary = Dictionary(torch.ones(1, 1, 3), (3,), ((1, 1),), (1,))
    assert {dictionary.code_size((n,)) for n in (10, 11, 12)} == {(4,)}
    for n in (10, 11, 12):
        assert dictionary.synthesis(torch.ones(1, 1, 4), (n,)).shape == (1, 1, n)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@torch.no_grad()
def test_one_code_entry_lays_down_its_atom(mode: str) -> None:
    atom = torch.arange(1.0, 10).view(1, 1, 3, 3)
    dictionary = Dictionary(atom, (1, 1), ((1, 1), (1, 1)), (1, 1), padding_mode=mode)
    z = torch.zeros(1, 1, 5, 5)
    z[0, 0, 2, 3] = 2
    x = dictionary.synthesis(z, (5, 5))
    assert torch.equal(x[0, 0, 1:4, 2:5], 2 * atom[0, 0])
    assert x.count_nonzero() == 9
    corner = torch.zeros(1, 1, 5, 5)
    corner[0, 0, 0, 0] = 1
    x = dictionary.synthesis(corner, (5, 5))
    # Outside a zero-padded image the atom is cut off; on a circular one it comes back on the other side.
    assert x.count_nonzero() == (4 if mode == "zeros" else 9)
    if mode == "circular":
        assert x[0, 0, 4, 4] == 1


@torch.no_grad()
def test_dense_matrix_is_the_synthesis() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=generator)
    dictionary = Dictionary(weight, (2, 2), ((1, 1), (1, 1)), (1, 1), groups=2)
    matrix = dense_matrix(dictionary, (5, 6))
    z = torch.randn(3, 4, *dictionary.code_size((5, 6)), dtype=torch.float64, generator=generator)
    x = dictionary.synthesis(z, (5, 6))
    assert matrix.shape == (2 * 5 * 6, 4 * 3 * 3)
    torch.testing.assert_close(z.flatten(1) @ matrix.T, x.flatten(1))
    torch.testing.assert_close(x.flatten(1) @ matrix, dictionary.analysis(x).flatten(1))


@torch.no_grad()
def test_unit_norm_atoms() -> None:
    weight = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 7
    projected = unit_norm(weight)
    torch.testing.assert_close(projected.flatten(1).norm(dim=1), torch.ones(5))
    torch.testing.assert_close(unit_norm(projected), projected)
    cosine = torch.nn.functional.cosine_similarity(projected.flatten(1), weight.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(5))


def test_an_atom_of_length_zero_stays_zero() -> None:
    assert torch.equal(unit_norm(torch.zeros(2, 1, 3)), torch.zeros(2, 1, 3))


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-38, 1e-23, 1e-19, 1.0, 1e19, 1e38])
def test_the_norm_of_tiny_and_huge_atoms_is_one(size: float) -> None:
    weight = torch.ones(4, 1, 3, 3)
    weight[0] *= size
    weight[1, :, 1:] = 0
    weight[1] *= -size
    weight[2] = 0
    projected = unit_norm(weight)
    torch.testing.assert_close(projected.flatten(1).norm(dim=1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(projected[0], projected[3])
    assert (projected[1, :, 0] < 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_ordinary_atoms_are_divided_by_their_norm_bit_by_bit(dtype: torch.dtype) -> None:
    weight = (torch.randn(64, 3, 5, 5) * torch.logspace(-2, 2, 64).view(-1, 1, 1, 1)).to(dtype)
    norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    assert torch.equal(unit_norm(weight), weight / norms.view(-1, 1, 1, 1))


def test_with_weight_keeps_the_geometry() -> None:
    dictionary = Dictionary(torch.ones(2, 3, 3), (2,), ((1, 1),), (1,))
    other = dictionary.with_weight(torch.zeros(2, 3, 3))
    assert other.stride == (2,)
    assert other.weight.sum() == 0
