"""Decoding, feature inversion, the measures of likeness, and the experiment that compares them."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image
from torch import nn
from toys import network

from sdnet import csc_layers, models
from sdnet.cli import main
from sdnet.data.pictures import load_picture, photo_crops
from sdnet.decode import (
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
from sdnet.experiments import ledger, train, visual
from sdnet.inversion import Search, invert, mismatch, total_variation
from sdnet.likeness import colour_corrected, contrast, psnr, ssim
from sdnet.models.resnet import ResNet
from sdnet.report import visual as report
from sdnet.training.checkpoint import save_network


def all_csc(**options: object) -> ResNet:
    return network("sdnet18_all", shortcut=False, **options)


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
    same, shown = background(model, pixels), visual.views(model, pixels, "decode")
    for depth in ("stem", "stage2.block1.conv2"):
        torch.testing.assert_close(same[depth].float(), shown[depth].mean(0, keepdim=True).float())
    centred = visual.views(model, pixels[:2], "decode_centred", ["stem"], others=pixels)["stem"]
    torch.testing.assert_close(centred, 0.5 + shown["stem"][:2] - same["stem"])
    with pytest.raises(ValueError, match=r"decode_centred needs other images of size \(16, 16\)"):
        visual.views(model, pixels, "decode_centred", others=pixels[..., :8])


def test_what_cannot_be_decoded_is_refused() -> None:
    refused = [
        (network("sdnet18_all"), "has shortcuts, and a sum cannot be taken apart"),
        (network("resnet18"), "has shortcuts"),
        (network("sdnet18", shortcut=False), r"stage1.block1.conv1 of this network is an ordinary convolution"),
        (network("resnet18", shortcut=False), "stem of this network is an ordinary convolution"),
        (all_csc(stem="imagenet"), "max-pooling, which forgets"),
        (all_csc(stem_relu=True), "has a ReLU behind a batch normalisation"),
        (all_csc().train(), r"train mode.*call eval\(\) first"),
        (nn.Linear(2, 2), "only networks of sdnet.models can be decoded; got Linear"),
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


def test_inversion_lowers_its_objective_and_leaves_the_network_alone() -> None:
    model, pixels = network("resnet18"), torch.rand(2, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    part = layer_at(model, "stage1.block1.conv2").to_output
    with torch.no_grad():
        target = part(pixels)
    search = Search(steps=30)
    found = invert(part, target, (16, 16), search)
    assert found.objective.shape == (31, 2)
    assert (found.objective[-1] < 0.3 * found.objective[0]).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():  # as seeded, whatever the batch and the caller's mode
        alone = invert(part, target[1:], (16, 16), search)
    torch.testing.assert_close(alone.images, found.images[1:], atol=1e-3, rtol=0)
    missed = (part(found.images) - target).square().flatten(1).sum(1) / target.square().flatten(1).sum(1)
    torch.testing.assert_close(mismatch(part(found.images), target), missed)
    expected = missed + search.total_variation * total_variation(found.images)
    torch.testing.assert_close(found.objective[-1], expected)


def test_inversion_of_a_wide_first_layer_finds_the_image() -> None:
    model = network("resnet18", stem_relu=False)
    pixels = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), size=(16, 16), mode="bilinear")
    part = layer_at(model, "stem").to_output
    found = invert(part, part(pixels).detach(), (16, 16), Search(steps=150, total_variation=0.0))
    assert psnr(found.images, pixels).min() > 30


def test_inversion_refuses() -> None:
    part = layer_at(network("resnet18"), "stem").to_output
    with pytest.raises(ValueError, match=r"have shape \(1, 8, 16, 16\); got a target of shape \(1, 8, 9, 9\)"):
        invert(part, torch.rand(1, 8, 9, 9), (16, 16))
    with pytest.raises(ValueError, match="train mode"):
        invert(layer_at(network().train(), "stem").to_output, torch.rand(1, 8, 16, 16), (16, 16))
    for name, value in (("steps", 0), ("lr", 0.0), ("total_variation", -1.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            Search(**{name: value})


def test_likeness_against_scikit_image() -> None:
    photo = torch.from_numpy(load_sample_image("flower.jpg")[100:148, 100:164].copy()).permute(2, 0, 1)[None] / 255
    shown = photo + 0.2 * torch.randn_like(photo)
    clipped = shown.clamp(0, 1)[0].double().numpy()
    expected = peak_signal_noise_ratio(photo[0].double().numpy(), clipped, data_range=1)
    assert psnr(shown, photo) == pytest.approx([expected])
    options = {
        "channel_axis": 0,
        "data_range": 1,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    assert ssim(shown, photo) == pytest.approx([structural_similarity(photo[0].double().numpy(), clipped, **options)])
    faded = photo * torch.tensor([0.01, -0.2, 0.1]).view(3, 1, 1) + 0.3
    torch.testing.assert_close(colour_corrected(faded, photo).float(), photo, atol=1e-4, rtol=0)
    best = np.polyfit(shown[0, 1].flatten().double().numpy(), photo[0, 1].flatten().double().numpy(), 1)
    fitted = best[0] * shown[0, 1].double() + best[1]
    torch.testing.assert_close(colour_corrected(shown, photo)[0, 1], fitted)
    grey = colour_corrected(torch.full_like(photo, 0.7), photo)
    torch.testing.assert_close(grey[0, :, 0, 0].float(), photo[0].mean((1, 2)))
    two = torch.rand(2, 3, 12, 12)
    assert contrast(0.25 * two + two[:1], two) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="images of one shape"):
        psnr(photo, two)


def test_random_weights_know_the_statistics_but_nothing_else() -> None:
    model, pixels = all_csc(), torch.rand(100, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    twin = visual.random_twin(model, pixels, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not twin.training
    assert [norm.momentum for norm in twin.modules() if isinstance(norm, nn.BatchNorm2d)] == [0.1] * 17
    assert torch.equal(twin.normalize.mean, model.normalize.mean)
    assert (twin.stem[0].weight - model.stem[0].weight).abs().max() > 0.1
    torch.testing.assert_close(twin.stem[0].weight.flatten(1).norm(dim=1), torch.ones(8))
    deepest = layers(twin)[-1].to_output(pixels)
    assert 0.5 < deepest.std() < 2
    again = visual.random_twin(model, pixels, seed=3)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in twin.state_dict().items())


def stored(folder: Path, arch: str, **options: object) -> Path:
    """A tiny untrained network as a training run on digits would have left it."""
    run = train.training(arch, "digits", "smoke", width=2, atoms=4, **options)
    model = visual.random_twin(run.build(10), torch.rand(32, 3, 32, 32))
    (folder / arch).mkdir()
    save_network(folder / arch / "network.safetensors", model, {"training": run.config, "classes": list("0123456789")})
    return folder / arch / "network.safetensors"


def test_the_experiment_end_to_end(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet.experiments.sweep.RESAMPLES", 20)
    files = [stored(folders, "sdnet18_all", shortcut=False), stored(folders, "resnet18")]
    record, path = visual.run(files[0], preset="smoke", images=2, steps=1, device="cpu")
    assert json.loads(path.read_text())["experiment"] == "visual"
    assert record.config["images"] == 2
    assert record.config["inversion_steps"] == 1
    kinds = {(cell["method"], cell["weights_are"], cell["metric"]) for cell in record.results}
    likeness = ("psnr", "ssim", "psnr_affine", "ssim_affine", "contrast")
    expected = {(method, w, m) for method in visual.METHODS for w in ("trained", "random") for m in likeness}
    layerwise = ("density", "residual", "lam")
    expected |= {("", weights_are, metric) for weights_are in ("trained", "random") for metric in layerwise}
    expected |= {("inversion", weights_are, "mismatch") for weights_are in ("trained", "random")}
    assert kinds == expected | {("one colour", "none", metric) for metric in likeness}
    decoded = [cell for cell in record.results if cell["method"] == "decode" and cell["metric"] == "psnr"]
    assert [cell["layer"] for cell in decoded] == [*range(1, 18)] * 2
    assert decoded[0]["depth"] == "stem"
    assert all(cell["n"] == (1 if cell["metric"] == "lam" else 2) for cell in record.results)
    assert all(np.isfinite(cell["value"]) for cell in record.results)

    arguments = ["visual", str(files[1]), "--preset", "smoke", "--images", "2", "--steps", "1", "--device", "cpu"]
    refused = CliRunner().invoke(main, [*arguments, "--method", "decode"])
    assert refused.exit_code == 1
    assert "Error: this network has shortcuts" in refused.output
    done = CliRunner().invoke(main, [*arguments, "--depth", "stem", "--depth", "stage4.block2.conv2"])
    assert "Ledger row:" in done.output, done.output
    records = ledger.read(folders / "ledger")
    assert records[-1].config["methods"] == ["inversion"]

    cells = report.one_scale(ledger.cells(records))
    found = report.lines(cells, "psnr_affine")
    name, resnet = "SDNet-18-All", "ResNet-18, inverted"
    labels = [*(f"{name}, {how}" for how in ("decoded", "decoded and centred", "inverted")), resnet]
    assert [line.label for line in found] == [text for label in labels for text in (label, f"{label}, random weights")]
    assert len(report.against_depth(cells, ("psnr", "ssim_affine", "contrast")).axes) == 3
    table = report.show_depths(cells).data
    assert "stage3.block1.conv2" in table
    assert "the best single colour" in table
    controls = report.show_controls(cells).data
    assert all(label in controls for label in labels[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "tiny"}, "preset 'tiny' does not exist"),
        ({"images": 1}, "images must be at least 2, since an interval needs two; got 1"),
        ({"methods": ["decod"]}, "method 'decod' does not exist. Did you mean 'decode'"),
        ({"steps": 0}, "steps must be a positive integer"),
        ({"depths": ["stage9"]}, "depth 'stage9' does not exist"),
    ],
)
def test_the_experiment_refuses_what_does_not_exist(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        visual.run("resnet18-w16-cifar10-jpeg-s0", **{"preset": "smoke", **options}, device="cpu")


def test_a_report_of_nothing_says_so() -> None:
    cells = report.one_scale(ledger.cells([]))
    assert "not run" in report.show_depths(cells).data
    assert "not run" in report.show_controls(cells).data
    figure = report.against_depth(cells)
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["not run"] * 2


def test_controls_are_counted_by_their_intervals() -> None:
    base = {"experiment": "visual", "metric": "psnr_affine", "arch": "sdnet18_all", "variant": "", "dataset": "d",
            "width": 4, "epochs": 1, "seed": 0, "n": 9, "started": "2026"}  # fmt: skip
    values = {("decode", "trained"): (20, 15, 10), ("decode", "random"): (15, 15.5, 15)}
    cells = [
        {**base, "method": method, "weights_are": weights_are, "layer": layer, "depth": str(layer),
         "value": value, "low": value - 1, "high": value + 1}
        for (method, weights_are), row in values.items()
        for layer, value in enumerate(row, start=1)
    ]  # fmt: skip
    html = report.show_controls(pd.DataFrame(cells)).data
    row = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert row == ["SDNet-18-All, decoded", "SDNet-18-All, decoded, random weights", "3", "1", "1", "1"]


def test_pictures_beside_their_decodings() -> None:
    image = torch.rand(1, 3, 8, 8)
    shown = {"decoded": {"stem": image, "stage1.block1.conv2": image}, "inverted": {"stem": image}}
    figure = report.pictures(image, shown, ["stem", "stage1.block1.conv2"])
    assert len(figure.axes) == 6
    assert [ax.get_title(loc="center") for ax in figure.axes[:3]] == ["image", "stem", "1.1.2"]


def test_a_readers_picture(tmp_path: Path) -> None:
    assert load_picture(None, 32).shape == (1, 3, 32, 32)
    Image.new("L", (50, 20), 128).save(tmp_path / "grey.png")
    torch.testing.assert_close(load_picture(tmp_path / "grey.png", 40), torch.full((1, 3, 40, 40), 128 / 255))
    with pytest.raises(ValueError, match=r"there is no picture at nowhere\.jpg; give the path of an image file"):
        load_picture("nowhere.jpg", 32)


def test_crops_of_photographs_are_natural_images() -> None:
    crops = photo_crops(6, 12)
    assert crops.shape == (6, 3, 12, 12)
    assert 0 <= crops.min() < crops.max() <= 1
    assert crops.std(dim=(1, 2, 3)).min() > 0.02
    assert torch.equal(crops, photo_crops(6, 12))
    assert not torch.equal(crops, photo_crops(6, 12, seed=1))


def test_the_relative_residual_is_that_of_the_layers_own_problem() -> None:
    model, pixels = all_csc(), torch.rand(3, 3, 16, 16)
    layer = layer_at(model, "stage1.block1.conv1")
    stem = model.stem[0](model.normalize(pixels))
    signal = model.stem[1](stem)
    left = signal - layer.conv.dictionary.synthesis(layer.conv(signal), signal.shape[2:])
    share = left.square().flatten(1).sum(1) / signal.square().flatten(1).sum(1)
    torch.testing.assert_close(relative_residual(layer, pixels), share)
    assert share.max() < 1
