"""Deep coherence against the dense block matrix, against the measures of a single dictionary, and its Welch bound."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sdnet.csc.coherence import Coherence, deep_coherence, dense_blocks
from sdnet.csc.dictionary import Dictionary
from sdnet.csc.network import Connection, MixedScale, Network, chain
from sdnet.csc.theory import mutual_coherence, welch_bound


def dictionary(into: int, out: int, kernel: int, stride: int = 1, mode: str = "zeros") -> Dictionary:
    weight = torch.randn(out, into, kernel, kernel, dtype=torch.float64)
    return Dictionary(weight, (stride,) * 2, ((kernel // 2,) * 2,) * 2, (1, 1), padding_mode=mode)


def network(kernel: int, stride: int, skip: bool, mode: str = "zeros") -> Network:
    eye = torch.eye(5, 4, dtype=torch.float64)[:, :, None, None]
    through = Connection(1, Dictionary(eye, (stride, stride), ((0, 0), (0, 0)), (1, 1)))
    layers = [dictionary(3, 4, kernel, 1, mode), dictionary(4, 5, kernel, stride, mode), dictionary(5, 6, 1, 1, mode)]
    return chain(layers, 0.1, skips={3: through} if skip else {})


def by_hand(matrix: Tensor) -> tuple[float, float, float, int]:
    columns = matrix / matrix.norm(dim=0)
    gram = (columns.T @ columns).abs().fill_diagonal_(0)
    pairs = int((gram > 1e-9).sum())
    return gram.max().item(), gram.sum().item() / pairs, pairs


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_all_pairs_of_columns_of_the_dense_block_matrix(kernel: int, stride: int, skip: bool) -> None:
    """On signals that repeat there is no border, so that all columns are like those in the middle."""
    size = 8 if kernel == 1 else 12
    matrix, _ = dense_blocks(chosen := network(kernel, stride, skip, "circular"), (3, size, size))
    found = deep_coherence(chosen, 3)
    largest, mean, pairs = by_hand(matrix)
    assert found.largest == pytest.approx(largest, rel=1e-9)
    assert found.frame_potential == pytest.approx(mean, rel=1e-9)
    assert found.pairs * matrix.shape[1] == pytest.approx(pairs)
    rank_bound = math.sqrt(max(0, matrix.shape[1] ** 2 / matrix.shape[0] - matrix.shape[1]) / pairs)
    assert found.welch_bound == pytest.approx(rank_bound)
    assert found.welch_bound <= found.largest


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_one_layer_is_the_single_dictionary(kernel: int, stride: int) -> None:
    single = dictionary(3, 40, kernel, stride)
    found = deep_coherence(chain([single], 0.1), 3)
    assert found.largest == pytest.approx(mutual_coherence(single))
    assert found.welch_bound == pytest.approx(welch_bound(single))


def test_columns_have_unit_length_whatever_the_atoms() -> None:
    base = chain([dictionary(3, 8, 3)], 0.1)
    (layer,) = base.layers
    scaled = Network((replace(layer, operator=layer.operator.scaled(torch.logspace(-2, 2, 8).double())),))  # type: ignore[union-attr]
    assert deep_coherence(scaled, 3).largest == pytest.approx(deep_coherence(base, 3).largest)


def test_depth_and_skip_connections_lower_the_welch_bound() -> None:
    """Sec. 4.1: the deeper of two chains of equal width, and the one with the skip connection."""

    def bound(depth: int, skip: bool = False) -> float:
        layers = [dictionary(3, 16, 3), *(dictionary(16, 16, 3) for _ in range(depth - 1))]
        return deep_coherence(chain(layers, 0.1, skips={3: Connection(1)} if skip else {}), 3).welch_bound

    assert bound(4) < bound(3) < bound(2) < bound(1)
    assert bound(3, skip=True) < bound(3)


def test_mixed_scale_dictionaries_are_measured_too() -> None:
    mixed = MixedScale(dictionary(3, 2, 3), torch.ones(3, dtype=torch.float64))
    (layer,) = chain([dictionary(3, 2, 3)], 0.1).layers
    found = deep_coherence(Network((replace(layer, operator=mixed),)), 3)
    # An atom meets the identity at each of its own entries, divided by its length.
    weight = mixed.dictionary.weight
    steepest = (weight.flatten(1).abs().amax(1) / weight.flatten(1).norm(dim=1)).max().item()
    assert found.largest == pytest.approx(max(steepest, mutual_coherence(mixed.dictionary)))
    assert isinstance(found, Coherence)
