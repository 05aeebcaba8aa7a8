"""What the playground computes from: the networks as they were trained, and pictures that both of them know."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toys
from torch import nn

from sdnet.experiments.playground import adversaries, book, export, lines, study
from sdnet.experiments.playground.drawings import pictures
from sdnet.results import networks
from sdnet.robust.policies import fingerprint


@torch.no_grad()
def test_a_batch_normalisation_is_folded_into_its_convolution() -> None:
    conv, norm = nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
    for _ in range(3):
        norm(conv(torch.rand(8, 3, 6, 6)))
    norm.weight.uniform_(0.5, 2)
    norm.bias.uniform_(-1, 1)
    norm.eval()
    weight, bias = export.folded(conv, norm)
    images = torch.rand(2, 3, 6, 6)
    torch.testing.assert_close(torch.conv2d(images, weight, bias, padding=1), norm(conv(images)))


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("float32", 4)])
def test_weights_are_read_back_from_where_they_were_put(dtype: str, size: int) -> None:
    weights = export.Weights()
    first, second = torch.tensor([[1.0, -2.5]]), torch.tensor([0.125])
    assert (weights.add(first), weights.add(second)) == (0, 2)
    raw = base64.b64decode(weights.text(dtype))
    assert len(raw) == 3 * size
    assert np.frombuffer(raw, dtype).tolist() == [1.0, -2.5, 0.125]


def test_every_weight_is_in_the_page_once() -> None:
    weights = export.Weights()
    export.describe(export.RESNET, weights)
    model = networks.load(export.RESNET).model
    # Of the two vectors of a batch normalisation the page keeps one.
    norms = sum(len(module.weight) for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert weights.count == sum(parameter.numel() for parameter in model.parameters()) - norms


def test_a_network_that_the_page_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for arch, options, reason in (
        ("sdnet18", {"kernel": 5}, "3×3 filters"),
        ("sdnet18", {"nonnegative": False}, "codes must be the paper's"),
        ("sdnet18_all", {"shortcut": False}, "blocks that the playground cannot run"),
    ):
        found = SimpleNamespace(model=toys.network(arch, **options))
        monkeypatch.setattr(networks, "load", lambda name, found=found: found)
        with pytest.raises(ValueError, match=reason):
            export.describe("mine", export.Weights())


@torch.no_grad()
def test_both_networks_know_every_picture_without_noise() -> None:
    shown = pictures()
    assert all(picture.pixels.shape == (32, 32, 3) for picture in shown)
    assert len({picture.label for picture in shown}) == len(shown)
    images = torch.stack([picture.pixels for picture in shown]).permute(0, 3, 1, 2) / 255
    for name in (export.SDNET, export.RESNET):
        trained = networks.load(name)
        said = [trained.classes[index] for index in trained.model(images).argmax(1).tolist()]
        assert said == [picture.label for picture in shown]


def test_the_stored_lines_belong_to_the_network() -> None:
    found = lines.read_lines(export.SDNET)
    assert set(found) == {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "all"}
    assert all(policy.slope > 0 for policy in found.values())  # more residual, more λ
    assert {policy.network for policy in found.values()} == {fingerprint(networks.load(export.SDNET).model)}


def test_lines_of_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "folder_of", lambda network: lines.repository_data() / "policies" / export.SDNET)
    with pytest.raises(ValueError, match="fit it again"):
        lines.read_lines("sdnet18-w16-cifar10-s1")


def test_lines_are_fitted_on_training_images_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = toys.network(), toys.images(40)
    found = SimpleNamespace(model=model, training=SimpleNamespace(dataset="toys"))
    monkeypatch.setattr(lines.networks, "load", lambda name: found)
    # There is no test split to look at.
    monkeypatch.setattr(lines.datasets, "load", lambda name, root: SimpleNamespace(train=split))
    monkeypatch.setattr(lines, "repository_data", lambda: tmp_path)
    folder = lines.fit_lines("mine", size="smoke")
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted(lines.read_lines("mine"))


def test_the_book_gets_the_page_when_it_is_built_as_html(tmp_path: Path) -> None:
    connected: dict[str, object] = {}
    book.setup(SimpleNamespace(connect=lambda event, call: connected.update({event: call})))
    finished = connected["build-finished"]
    for kind, error in (("html", ValueError("broken")), ("latex", None)):
        finished(SimpleNamespace(builder=SimpleNamespace(format=kind), outdir=tmp_path), error)  # type: ignore[operator]
    assert not list(tmp_path.iterdir())
    finished(SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path), None)  # type: ignore[operator]
    frame = (lines.repository_data().parent / "book" / "15_playground.ipynb").read_text()
    for name in ("index.html", "embed.js"):
        assert f"{book.FOLDER}/{name}" in frame
        assert (tmp_path / book.FOLDER / name).is_file()
    text = (tmp_path / book.FOLDER / "data.js").read_text()
    assert len(text) < 4e6
    assert (tmp_path / book.FOLDER / "attacks.js").stat().st_size < 250_000
    told = json.loads(text.removeprefix("const PLAYGROUND = ").removesuffix(";\n"))
    assert told["lines"]["all"]["slope"] == lines.read_lines(export.SDNET)["all"].slope


def test_scripts_stay_small() -> None:
    for path in (*export.PAGE.glob("*.js"), *export.PAGE.glob("*.css"), *export.PAGE.glob("*.html")):
        assert path.read_text().count("\n") <= 300
        assert max(len(line) for line in path.read_text().splitlines()) <= 120


def test_the_books_table_of_the_attacked_has_a_line_for_each_adversary() -> None:
    found = study.attacked()
    assert list(found.index) == list(adversaries.ADVERSARIES.values())
    ours = adversaries.still_right(export.SDNET)
    assert found["λ 1.1"].tolist() == [ours[who][4].sum() for who in adversaries.ADVERSARIES]
    assert found[study.PLAIN].tolist() == [one.sum() for one in adversaries.still_right(export.RESNET).values()]


def test_counts_of_many_draws() -> None:
    found = study.answers("gaussian_noise", 5, draws=3)
    assert len(found) == 8 * 3 * (1 + len(study.SOME))
    shares, favourites = study.shares(found), study.favourites(found)
    assert list(shares.columns) == list(favourites.index) == [study.PLAIN, *(f"λ {lam:g}" for lam in study.SOME)]
    right = found[(found["picture"] == "ship") & (found["at"] == "λ 0.5")]["answer"] == "ship"
    assert shares.loc["ship", "λ 0.5"] == round(100 * right.mean())
    plain = found[found["at"] == study.PLAIN]["answer"].value_counts()
    assert favourites.loc[study.PLAIN].tolist() == [plain.index[0], round(100 * plain.iloc[0] / 24)]
