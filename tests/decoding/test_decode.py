"""Decoding: every depth by its name, what its code explains of an image, and what cannot be decoded."""

import copy

import pytest
import torch
from torch import nn
from toys import all_csc, network

from sdnet import csc_layers, models
from sdnet.decoding.decode import (
    background,
    codes,
    decode,
    density,
    depths,
    is_decodable,
    layer_at,
    layers,
    most_used_atoms,
    relative_residual,
    undo_batch_norm,
)
from sdnet.experiments.visualisation import reconstruction


def test_depths_by_name() -> None:
    model = all_csc()
    names = depths(model)
    assert names[:3] == ["stem", "stage1.block1.conv1", "stage1.block1.conv2"]
    assert names[-1] == "stage4.block2.conv2"
    assert [layer.conv for layer in layers(model)] == [layer for _, layer in csc_layers(model)]
    with pytest.raises(ValueError, match=r"depth 'stem1' does not exist. Did you mean 'stem'"):
        layer_at(model, "stem1")


@pytest.mark.parametrize("arch", ["sdnet18_all", "sdnet18", "resnet18"])
def test_every_part_of_a_network_is_what_the_network_computes_there(arch: str) -> None:
    model, pixels = network(arch), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        features = model.stem(model.normalize(pixels))
        torch.testing.assert_close(layer_at(model, "stem").to_output(pixels), features)
        block = model.stages[0][0]
        inner = layer_at(model, "stage1.block1.conv1")
        torch.testing.assert_close(inner.to_code(pixels), block.conv1(features))
        torch.testing.assert_close(inner.to_output(pixels), block.relu(block.bn1(block.conv1(features))))
        last = layers(model)[-1].to_output(pixels)
        torch.testing.assert_close(model.head(last.mean((2, 3))), model(pixels))


@pytest.mark.parametrize("options", [{}, {"nonnegative": False}, {"iterations": 1, "lam": 0.3}])
def test_depth_one_is_synthesis_of_the_stems_code(options: dict[str, object]) -> None:
    model, pixels = all_csc(**options), torch.rand(2, 3, 17, 19)
    stem = model.stem[0]
    with torch.no_grad():
        code = stem(model.normalize(pixels))
        explained = stem.dictionary.synthesis(code, (17, 19))
        again = decode(model, codes(model, pixels)["stem"], "stem", (17, 19))
        normalised = (again - model.normalize.mean) / model.normalize.std
        torch.testing.assert_close(normalised.float(), explained)
        torch.testing.assert_close(model.normalize(pixels) - explained, stem.residual(model.normalize(pixels)))
        exact = copy.deepcopy(stem).double().dictionary.synthesis(code.double(), (17, 19))
        assert torch.equal(again, exact * model.normalize.std.double() + model.normalize.mean.double())


def test_batch_normalisation_is_undone_with_its_epsilon() -> None:
    norm = nn.BatchNorm2d(5, eps=0.1, dtype=torch.float64)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.copy_(torch.randn(5))
        norm.running_var.copy_(torch.tensor([0.0, 1e-6, 0.01, 1.0, 3.0]))  # comparable to ε, and below it
        norm.eval()
        given = torch.randn(2, 5, 4, 3, dtype=torch.float64)
        torch.testing.assert_close(undo_batch_norm(norm, norm(given)), given)
        norm.weight[2] = 0
        again = undo_batch_norm(norm, norm(given))
        assert torch.equal(again[:, 2], norm.running_mean[2].expand(2, 4, 3))
        torch.testing.assert_close(again[:, 3:], given[:, 3:])


def test_two_layers_decode_to_the_known_image() -> None:
    """With orthonormal 1-tap atoms and λ = 0 each layer explains its input entirely: decoding is then the inverse."""
    model = models.build("sdnet18_all", shortcut=False, atoms=6, width=6, lam=0.0, nonnegative=False, iterations=1)
    model.normalize.set([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    with torch.no_grad():
        first, second = model.stem[0], model.stages[0][0].conv1
        for conv, channels in ((first, 3), (second, 6)):
            conv.weight.zero_()
            conv.weight[:channels, :, 1, 1] = torch.linalg.qr(torch.randn(channels, channels)).Q
            conv.lipschitz.fill_(1.0)
        norm = model.stem[1]
        for values, low, high in ((norm.weight, 0.5, 2), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
            values.uniform_(low, high)
        norm.running_var.uniform_(1e-5, 1)
        model.eval()
        pixels = torch.rand(2, 3, 9, 7)
        found = codes(model, pixels)
        for depth in ("stem", "stage1.block1.conv1"):
            torch.testing.assert_close(decode(model, found[depth], depth, (9, 7)).float(), pixels)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (15, 9)])
def test_every_depth_decodes_to_the_size_of_the_image(size: tuple[int, int]) -> None:
    model, pixels = all_csc(), torch.rand(2, 3, *size)
    for depth, code in codes(model, pixels).items():
        again = decode(model, code, depth, size)
        assert again.shape == pixels.shape
        assert again.isfinite().all()


def test_decoding_is_affine_in_the_code() -> None:
    model, depth = all_csc(), "stage2.block1.conv1"
    one, two = codes(model, torch.rand(2, 3, 17, 17))[depth].double().split(1)
    mixed = decode(model, 0.3 * one + 0.7 * two, depth, (17, 17))
    apart = 0.3 * decode(model, one, depth, (17, 17)) + 0.7 * decode(model, two, depth, (17, 17))
    torch.testing.assert_close(mixed, apart)


def test_what_is_the_same_for_every_image_is_the_mean_of_their_decodings() -> None:
    model, pixels = all_csc(), torch.rand(6, 3, 16, 16)
    same, shown = background(model, pixels), reconstruction.views(model, pixels, "decode")
    for depth in ("stem", "stage2.block1.conv2"):
        torch.testing.assert_close(same[depth].float(), shown[depth].mean(0, keepdim=True).float())
    centred = reconstruction.views(model, pixels[:2], "decode_centred", ["stem"], others=pixels)["stem"]
    torch.testing.assert_close(centred, 0.5 + shown["stem"][:2] - same["stem"])
    with pytest.raises(ValueError, match=r"decode_centred needs other images of size \(16, 16\)"):
        reconstruction.views(model, pixels, "decode_centred", others=pixels[..., :8])


def test_what_cannot_be_decoded_is_refused() -> None:
    refused = [
        (network("sdnet18_all"), "has shortcuts, and a sum cannot be taken apart"),
        (network("resnet18"), "has shortcuts"),
        (network("sdnet18", shortcut=False), r"stage1.block1.conv1 of this network is an ordinary convolution"),
        (network("resnet18", shortcut=False), "stem of this network is an ordinary convolution"),
        (all_csc(stem="imagenet"), "max-pooling, which forgets"),
        (all_csc(stem_relu=True), "has a ReLU behind a batch normalisation"),
        (all_csc().train(), r"train mode.*call eval\(\) first"),
        (nn.Linear(2, 2), "only residual networks of sdnet.models can be decoded; got Linear"),
    ]
    for model, message in refused:
        assert not is_decodable(model)
        with pytest.raises(ValueError, match=message):
            codes(model, torch.rand(1, 3, 16, 16))
        with pytest.raises(ValueError, match=message):
            decode(model, torch.rand(1, 8, 16, 16), "stem", (16, 16))
    assert is_decodable(all_csc())
    with pytest.raises(
        ValueError, match=r"of images of size \(16, 16\) has shape \(N, 8, 16, 16\); got \(1, 8, 9, 9\)"
    ):
        decode(all_csc(), torch.rand(1, 8, 9, 9), "stem", (16, 16))


def test_density_and_the_most_used_atoms() -> None:
    model, pixels = all_csc(), torch.rand(3, 3, 16, 16)
    code = codes(model, pixels)["stage1.block1.conv2"]
    share = density(layer_at(model, "stage1.block1.conv2"), pixels)
    torch.testing.assert_close(share, (code != 0).float().mean((1, 2, 3)))
    made = torch.zeros(2, 4, 3, 3)
    made[0, 2], made[0, 1, 0, 0], made[1, 3, 1, 1], made[1, 0] = 1.0, -5.0, -20.0, 1.0
    assert most_used_atoms(made, 2).tolist() == [[2, 1], [3, 0]]
    with pytest.raises(ValueError, match="between 1 and the number of atoms, 4; got 5"):
        most_used_atoms(made, 5)
    resnet = network("resnet18")
    assert 0.1 < density(layer_at(resnet, "stem"), pixels).mean() < 0.9


def test_the_relative_residual_is_that_of_the_layers_own_problem() -> None:
    model, pixels = all_csc(), torch.rand(3, 3, 16, 16)
    layer = layer_at(model, "stage1.block1.conv1")
    stem = model.stem[0](model.normalize(pixels))
    signal = model.stem[1](stem)
    left = signal - layer.conv.dictionary.synthesis(layer.conv(signal), signal.shape[2:])
    share = left.square().flatten(1).sum(1) / signal.square().flatten(1).sum(1)
    torch.testing.assert_close(relative_residual(layer, pixels), share)
    assert share.max() < 1
