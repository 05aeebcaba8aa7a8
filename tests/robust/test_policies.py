"""λ policies: the line, its fit, the classifier that applies it, and what none of them may see."""

import json
import math
import os
from dataclasses import asdict, astuple, replace
from pathlib import Path

import pytest
import torch
from scipy.stats import linregress
from toys import images, network

import sdnet
from sdnet.data.corruptions import NOISES, SEVERITIES, add_noise
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions import calibration
from sdnet.experiments.corruptions import policies as experiment
from sdnet.experiments.corruptions.calibration import Splits, calibrated
from sdnet.names import sha256_of
from sdnet.results.unfinished import computed
from sdnet.robust import algorithm1
from sdnet.robust.algorithm1 import DEVIATIONS, Deviation, Point, calibrate, calibrate_as_released, fit, fit_line
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import (
    Policy,
    RobustClassifier,
    all_residuals,
    fingerprint,
    fixed,
    load_policy,
    predictions,
    residuals,
)
from sdnet.robust.sweep import sweep

LAMS = (0.1, 0.2, 0.3, 0.4, 0.5)
LINE = Policy("line", slope=0.1, intercept=-0.2, low=0.1, high=0.9)


def test_the_line_is_clipped_and_averages_before_it_bends() -> None:
    r = torch.tensor([1.0, 5.0, 30.0])
    torch.testing.assert_close(replace(LINE, per_image=True).lam(r), torch.tensor([0.1, 0.3, 0.9]))
    torch.testing.assert_close(LINE.lam(r), torch.tensor(0.9))
    torch.testing.assert_close(LINE.lam(r[:2]), torch.tensor(0.1))
    torch.testing.assert_close(replace(LINE, power=2, high=9).lam(r[:2]), torch.tensor(0.1 * 13 - 0.2))
    torch.testing.assert_close(fixed(0.1).lam(r), torch.tensor(0.1))


def test_residuals_are_the_layers_own_at_that_lam_whatever_lam_is_set() -> None:
    model, pixels = network(iterations=3), torch.rand(4, 3, 16, 16)
    layer = model.stem[0]
    with torch.no_grad():
        expected = layer.residual(model.normalize(pixels)).flatten(1).norm(dim=1)
        sdnet.set_lam(model, 0.7)
        torch.testing.assert_close(residuals(model, pixels, 0.1), expected)
        assert (residuals(model, pixels, 0.7) > expected).all()
    assert layer.lam == pytest.approx(0.7)
    assert not layer._forward_hooks


def test_residuals_are_averaged_over_all_layers() -> None:
    model, pixels = network("sdnet18_all"), torch.rand(2, 3, 16, 16)
    layers = [layer for _, layer in sdnet.csc_layers(model)]
    norms = []
    hooks = [
        layer.register_forward_hook(lambda m, i, o: norms.append(m.lasso(i[0]).residual(o).flatten(1).norm(dim=1)))
        for layer in layers
    ]
    with torch.no_grad():
        model(pixels)
        for hook in hooks:
            hook.remove()
        assert len(norms) == 17
        torch.testing.assert_close(residuals(model, pixels, 0.1), torch.stack(norms).mean(0))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("arch", ["sdnet18", "sdnet18_all"])
def test_a_robust_classifier_is_the_network_at_the_policys_lam(arch: str, per_image: bool) -> None:
    model, pixels = network(arch), torch.rand(6, 3, 16, 16) ** 3
    r = residuals(model, pixels, 0.1).detach()
    policy = Policy("p", 0.5 / r.max().item(), 0.0, 0.0, 1.0, per_image=per_image)
    with torch.no_grad():
        classifier = RobustClassifier(model, policy)
        scores, lam = classifier(pixels), classifier.lam(pixels)
        torch.testing.assert_close(lam, policy.lam(r))
        assert lam.shape == ((6,) if per_image else ())
        for index in range(6):
            sdnet.set_lam(model, lam[index] if per_image else lam)
            torch.testing.assert_close(scores[index], model(pixels[index : index + 1])[0], rtol=1e-4, atol=1e-4)


def test_the_gradient_passes_through_the_chosen_lam() -> None:
    model, pixels = network().double(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    r = residuals(model, pixels, 0.1).item()
    classifier = RobustClassifier(model, Policy("p", 0.4 / r, 0.0, 0.0, 1.0))
    pixels.requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.lam(pixels), pixels)
    assert gradient.abs().max() > 0
    (full,) = torch.autograd.grad(classifier(pixels)[0, 3], pixels)
    with torch.no_grad():
        direction = torch.randn_like(pixels)
        ahead, behind = (classifier(pixels + step * direction)[0, 3] for step in (1e-6, -1e-6))
    torch.testing.assert_close((full * direction).sum(), (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-7)


def test_fit_recovers_a_line_and_says_how_well() -> None:
    points = [Point("gaussian_noise", c, r, r**2, 0.05 * r - 0.1) for c, r in enumerate((4.0, 6.0, 9.0, 11.0))]
    line = fit_line(points)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((0.05, -0.1, 1.0))
    assert fit_line(points, power=2).r_squared < 1
    assert fit_line([point._replace(lam=0.3) for point in points]).r_squared == 0
    for few in ([], points[:1], [points[0], points[0]._replace(lam=0.7)]):
        with pytest.raises(ValueError, match="two noise levels of different residuals at least"):
            fit_line(few)


def test_the_line_and_r_squared_are_scipy_s() -> None:
    points = [Point("shot_noise", 0.0, x, x * x, y) for x, y in torch.rand(7, 2).double().tolist()]
    for power in (1, 2):
        x = [point.residual**power for point in points]
        theirs = linregress(x, [point.lam for point in points])
        expected = (theirs.slope, theirs.intercept, theirs.rvalue**2)
        assert astuple(fit_line(points, power)) == pytest.approx(expected, rel=1e-12)


def test_cells_of_a_calibration_hold_the_best_lam_once_and_say_on_how_many_images_it_was_found() -> None:
    points = {"gaussian_noise": [Point("gaussian_noise", c, c, c**2, 0.1 * c) for c in (1.0, 2.0, 3.0)]}
    cells = [cell for cell in calibration.fit_cells(points, points, 40, 20) if cell["metric"] == "best_lam"]
    assert [cell["value"] for cell in cells] == pytest.approx([0.1, 0.2, 0.3] * 2)
    assert all("lam" not in cell and cell["residual"] == cell["level"] for cell in cells)
    assert {(cell["policy"], cell["n"]) for cell in cells} == {("residual_fit", 40), ("authors_script", 20)}


def test_calibration_takes_the_residual_at_lam0_and_the_best_lam() -> None:
    model, split = network(), images(40)
    points = calibrate(model, split, "gaussian_noise", LAMS, levels=(0.05, 0.2), lam0=0.3)
    for index, point in enumerate(points):
        noisy = Split(add_noise(split.images, "gaussian_noise", point.level, seed=index), split.labels)
        norms = all_residuals(model, noisy.images, 0.3)
        assert (point.residual, point.squared_residual) == pytest.approx(
            (norms.mean().item(), norms.square().mean().item())
        )
        assert point.lam in LAMS
    assert points[0].residual < points[1].residual


def test_the_released_script_averages_what_it_has_seen_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(algorithm1.RELEASED_LEVELS, "gaussian_noise", (0.05, 0.2))
    model, split = network(), images(40)
    points = calibrate_as_released(model, split, "gaussian_noise", LAMS)
    seen = []
    for index, point in enumerate(points):
        noisy = Split(add_noise(split.images, "gaussian_noise", point.level, seed=index), split.labels)
        accuracy = sweep(Lam(model), noisy, torch.tensor(LAMS)).sum(1)
        assert point.lam == LAMS[int(accuracy.argmax())]
        for lam in LAMS:
            seen.append(all_residuals(model, noisy.images, lam).square().mean().item())
            if lam == point.lam:
                assert point.squared_residual == pytest.approx(sum(seen) / len(seen))
    assert points[1].squared_residual != pytest.approx(seen[len(LAMS) + LAMS.index(points[1].lam)])


def test_a_residual_may_be_that_at_the_best_lam() -> None:
    """The script reads the residual off the row of the best λ, not off that of λ₀."""
    model, split = network(), images(40)
    (usual,) = calibrate(model, split, "gaussian_noise", LAMS, levels=(0.2,), lam0=0.3)
    (point,) = calibrate(model, split, "gaussian_noise", LAMS, levels=(0.2,), lam0=0.3, residual="best")
    noisy = add_noise(split.images, "gaussian_noise", 0.2, seed=0)
    assert point.lam == usual.lam
    assert point.residual == pytest.approx(all_residuals(model, noisy, point.lam).mean().item())
    with pytest.raises(ValueError, match=r"residual 'bets' does not exist\. Did you mean 'best'"):
        calibrate(model, split, "gaussian_noise", LAMS, residual="bets")


def test_a_noise_that_the_authors_script_does_not_know_is_calibrated_at_its_five_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = (0.1, 0.2, 0.3, 0.4, 0.5)
    monkeypatch.setitem(NOISES, "dusk", lambda pixels, level, generator: pixels * (1 - level))
    monkeypatch.setitem(SEVERITIES["cifar"], "dusk", levels)
    model, split = network(), images(10)
    assert tuple(point.level for point in calibrate(model, split, "dusk", LAMS)) == levels
    splits = Splits(split, split, split)
    fitted, _ = calibrated(model, splits, ("dusk",), None, "fp32", computed)
    assert {one.policy.name for one in fitted if one.corruption == "dusk"} == {"residual_fit", "per_image"}
    for only in ("authors_script", "levels_as_released"):
        with pytest.raises(ValueError, match="noise of the authors' script 'dusk' does not exist"):
            calibrated(model, splits, ("dusk",), (only,), "fp32", computed)


def test_a_deviation_takes_the_residual_at_the_lam_of_training() -> None:
    model, split = network(lam=0.4), images(20)
    _, cells = calibrated(
        model, Splits(split, split, split), ("speckle_noise",), ("squared_residual",), "fp32", computed
    )
    found = [(cell["policy"], cell["residual"]) for cell in cells if cell["metric"] == "best_lam"]
    residuals_of = {name: [value for policy, value in found if policy == name] for name, _ in found}
    assert residuals_of["squared_residual"] == residuals_of["residual_fit"]


def test_every_lam_may_be_asked_about_noise_of_its_own() -> None:
    model, split = network(), images(40)
    (point,) = calibrate(model, split, "gaussian_noise", LAMS, levels=(0.2,), fresh_noise=True)
    correct = []
    for position, lam in enumerate(LAMS):
        noisy = Split(add_noise(split.images, "gaussian_noise", 0.2, seed=1000 + position), split.labels)
        correct.append(int(sweep(Lam(model), noisy, torch.tensor([lam])).sum()))
    assert point.lam == LAMS[correct.index(max(correct))]
    first = add_noise(split.images, "gaussian_noise", 0.2, seed=1000)
    assert point.residual == pytest.approx(all_residuals(model, first, 0.1).mean().item())


def test_the_script_is_its_deviations_together() -> None:
    """Test images, its levels, its Λ and its running, squared residual are Algorithm 1 with five switches turned."""
    model, train, test = network(), images(40), Split(images(50).images[40:], torch.arange(10))
    script = Deviation(on_test=True, released_levels=True, released_lams=True, residual="running", power=2)
    points = script.points(model, train, test, "speckle_noise", (0.1, 0.8, 1.4, 1.5), exhaustive=True)
    assert points == calibrate_as_released(model, test, "speckle_noise", (0.1, 0.8, 1.4))
    assert [point.level for point in points] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    usual = calibrate(model, train, "speckle_noise", LAMS)
    assert Deviation().points(model, train, test, "speckle_noise", LAMS) == usual
    assert DEVIATIONS["squared_residual"].points(model, train, test, "speckle_noise", LAMS) == usual
    turned = [
        [name for name in vars(one) if getattr(one, name) != getattr(Deviation(), name)] for one in DEVIATIONS.values()
    ]
    assert {len(names) for names in turned} == {1}
    assert {name for (name,) in turned} == set(vars(script))


def test_a_policy_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, text: str) -> None:
        with path.open("w") as file:
            file.write(text[:9])
        raise OSError(28, "No space left on device")

    LINE.save(tmp_path / "policy.json")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(OSError, match=r"cannot write .*policy\.json"):
            fixed(0.3).save(tmp_path / "policy.json")
    assert load_policy(tmp_path / "policy.json") == LINE
    assert [path.name for path in tmp_path.iterdir()] == ["policy.json"]


def test_a_policy_survives_its_file_and_knows_its_network(tmp_path: Path) -> None:
    model, other = network(), network()
    points = calibrate(model, images(20), "shot_noise", LAMS, levels=(100.0, 20.0))
    policy = fit("residual_fit", model, points, LAMS)
    policy.save(str(tmp_path / "policy.json"))
    assert load_policy(str(tmp_path / "policy.json")) == policy
    assert policy.network == fingerprint(model) != fingerprint(other)
    sdnet.set_lam(model, 0.9)
    RobustClassifier(model, policy)
    with pytest.raises(ValueError, match="was fitted for network"):
        RobustClassifier(other, policy)
    (tmp_path / "broken.json").write_text('{"slope": 1}')
    for name in ("broken.json", "missing.json"):
        with pytest.raises(ValueError, match="is not a saved policy"):
            load_policy(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power": 3}, "power must be 1 or 2"),
        ({"low": 2.0}, "low and high"),
        ({"high": float("inf")}, "high must be finite"),
    ],
)
def test_bad_policies_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LINE, **changes)


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="no CSC layer whose λ a policy"):
        RobustClassifier(network("resnet18"), LINE)
    with pytest.raises(ValueError, match="train mode"):
        RobustClassifier(network().train(), LINE)(torch.rand(2, 3, 16, 16))


def test_no_policy_sees_test_labels() -> None:
    """With other labels every policy makes the same choice, and only what is counted as correct differs."""
    model, split = network(), images(60)
    points = {"gaussian_noise": [Point("gaussian_noise", c, 5.0 + c, (5.0 + c) ** 2, 0.2 + 0.1 * c) for c in (1, 2, 3)]}
    policies = calibration.fit_all(model, points, points)
    names = {fitted.policy.name for fitted in policies}
    assert names == {"fixed", "residual_fit", "per_image", "type_free", "per_image_type_free", "authors_script"}
    relabelled = Split(split.images, (split.labels + 1) % 10)
    before, after = (experiment.evaluate(model, policies, part, "fp32") for part in (split, relabelled))
    for first, second in zip(before, after, strict=True):
        assert torch.equal(first.lam, second.lam)
        predicted = predictions(model, split.images, first.lam)
        assert torch.equal(first.correct, predicted == split.labels)
        assert torch.equal(second.correct, predicted == relabelled.labels)


def test_which_policies_are_asked() -> None:
    model = network()
    one = [Point("gaussian_noise", c, 5.0 + c, 25.0 + c, 0.1 * c) for c in (1, 2)]
    policies = calibration.fit_all(model, {"gaussian_noise": one, "shot_noise": one}, {"gaussian_noise": one})
    asked = {(fitted.policy.name, fitted.corruption) for fitted in experiment.applicable(policies, "shot_noise")}
    assert asked == {
        ("fixed", ""), ("type_free", "all"), ("per_image_type_free", "all"),
        ("residual_fit", "shot_noise"), ("per_image", "shot_noise"), ("residual_fit", "gaussian_noise"),
    }  # fmt: skip
    assert len(experiment.applicable(policies, "clean")) == len(policies) == 8


@pytest.mark.parametrize(
    "changes",
    [
        *({name: math.nan} for name in ("slope", "intercept", "lam0")),
        *({name: value} for name in ("slope", "intercept", "lam0") for value in (math.inf, "1", None, True)),
        *({"low": value} for value in ("0", None, math.nan)),
        *({"lam0": -1.0}, {"power": 1.5}, {"power": True}, {"power": [1]}),
        *({"per_image": 1}, {"per_image": "no"}, {"name": 3}, {"network": 3}),
    ],
    ids=str,
)
def test_policies_that_cannot_compute_are_refused_and_their_file_is_named(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=name):
        replace(LINE, **changes)
    path = tmp_path / "policy.json"
    changed = {**asdict(LINE), **changes}
    path.write_text(json.dumps({**changed, "sha256": sha256_of(changed)}))
    with pytest.raises(ValueError, match=rf"policy.json is not a saved policy \(.*{name}"):
        load_policy(path)


def test_a_policy_without_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(asdict(LINE)))
    with pytest.raises(ValueError, match=r"policy.json is not a saved policy \(it has no checksum\)"):
        load_policy(path)


def test_a_policy_is_loaded_from_a_path_given_as_text(tmp_path: Path) -> None:
    LINE.save(tmp_path / "policy.json")
    assert load_policy(str(tmp_path / "policy.json")) == LINE
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("bytes.json", "pipe.json", "missing.json"):
        with pytest.raises(ValueError, match="is not a saved policy"):
            load_policy(str(tmp_path / name))
