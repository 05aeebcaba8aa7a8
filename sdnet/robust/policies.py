"""How λ follows the residual: a fitted line, what it may look at, and a classifier that applies it.

Every rule that chooses λ without labels is the same line λ = clip(slope · r + intercept), with r the residual
‖x − A(z)‖ at the λ₀ of training. The rules differ in what the line was fitted on, and in whether r is averaged.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sdnet.csc.lam import CodingLayer, at_lam, coding_layers
from sdnet.data.batches import to_pixels
from sdnet.names import sha256_of
from sdnet.parameters import Amount, Signed, check_fields
from sdnet.training.checkpoint import whole
from sdnet.training.loop import precision_of

POWERS = (1, 2)


@dataclass(frozen=True)
class Policy:
    """λ as a clipped linear function of the residual.

    Attributes:
        name: what the ledger calls it.
        slope, intercept: of the line.
        low, high: ends of the range Λ that λ is clipped to.
        lam0: λ at which residuals are taken, the λ of training.
        power: 1 for the residual's norm ‖r‖, 2 for ‖r‖², as in the authors' code.
        per_image: give each image a λ of its own; otherwise one λ from the batch's mean residual, as in Algorithm 1.
        network: :func:`fingerprint` of the network it was fitted for; None fits any.

    Raises:
        ValueError: for a number that is not finite or out of its range, or a value of another type.
    """

    name: str
    slope: Signed
    intercept: Signed
    low: Amount
    high: Amount
    lam0: Amount = 0.1
    power: int = 1
    per_image: bool = False
    network: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.power, bool) or self.power not in POWERS:
            raise ValueError(f"power must be 1 or 2; got {self.power!r}.")
        if not self.low <= self.high:
            raise ValueError(f"low and high must satisfy 0 <= low <= high; got {self.low} and {self.high}.")

    def lam(self, residuals: Tensor) -> Tensor:
        """λ for images with residuals ‖x − A(z)‖ (N,): shape (N,) if ``per_image``, else ()."""
        values = residuals**self.power
        values = values if self.per_image else values.mean()
        return (self.slope * values + self.intercept).clamp(self.low, self.high)

    def save(self, path: str | Path) -> None:
        """Write the policy as JSON, with a checksum of the rest, at once or not at all."""
        with whole(Path(path).expanduser()) as part:
            part.write_text(json.dumps({**asdict(self), "sha256": sha256_of(asdict(self))}, indent=1) + "\n")


def load_policy(path: str | Path) -> Policy:
    """Read what :meth:`Policy.save` wrote.

    Raises:
        ValueError: if the file is missing or holds something else.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"{path} is not a saved policy (there is no such file); fit one with sdnet.robust.algorithm1.")
    try:
        fields = json.loads(file.read_text())
        if "sha256" not in fields:
            raise ValueError("it has no checksum")
        if fields.pop("sha256") != sha256_of(fields):
            raise ValueError("it was edited: its content does not match its checksum")
        return Policy(**fields)
    except (AttributeError, OSError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a saved policy ({error}); fit one with sdnet.robust.algorithm1.") from error


def fixed(lam: float) -> Policy:
    """The policy that gives every image the same λ."""
    return Policy("fixed", 0.0, lam, lam, lam, lam)


def fingerprint(model: nn.Module, *, with_lam: bool = False) -> str:
    """Sixteen hexadecimal digits of the network's weights and buffers, by default without λ."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if with_lam or name.rpartition(".")[2] != "lam":
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


class RobustClassifier(nn.Module):
    """A network whose λ is chosen by a policy, batch by batch (lines 13–14 of Algorithm 1): images in, scores out.

    Two passes: the first, at λ₀ and only as far as the last CSC layer, takes the residual; the second classifies at
    the λ that the policy makes of it. Differentiable throughout, λ included. The network itself is not changed.

    Args:
        model: a network with CSC layers, or SCN's, in eval mode.
        policy: fitted for this network, or for none in particular.

    Raises:
        ValueError: if the network has no CSC layer, is in train mode, or is not the one the policy was fitted for.
    """

    def __init__(self, model: nn.Module, policy: Policy) -> None:
        super().__init__()
        if not coding_layers(model):
            raise ValueError("this network has no CSC layer whose λ a policy could choose; see sdnet.convert.")
        if policy.network is not None and policy.network != (own := fingerprint(model)):
            raise ValueError(
                f"policy {policy.name!r} was fitted for network {policy.network}, this one is {own}; fit it again."
            )
        self.model, self.policy = model, policy
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        if self.model.training:
            raise ValueError("the network is in train mode, where its predictions depend on the batch; call eval().")
        scores: Tensor = at_lam(self.model, self.lam(images), images)
        return scores

    def lam(self, images: Tensor) -> Tensor:
        """The λ that the policy gives these images."""
        return self.policy.lam(residuals(self.model, images, self.policy.lam0))


def residuals(model: nn.Module, images: Tensor, lam: float) -> Tensor:
    """‖x − A(z)‖ per image (N,), at the given λ, averaged over the layers with a λ that the images pass.

    x is what the layer is given: for an SDNet the normalised image; for SCN's layers all its patches.
    """
    norms: list[Tensor] = []
    layers = [layer for _, layer in coding_layers(model)]

    def keep(layer: nn.Module, inputs: tuple[Tensor], code: Tensor) -> None:
        assert isinstance(layer, CodingLayer)
        residual = layer.residual(inputs[0], code).flatten(1)
        norms.append(residual.to(torch.promote_types(residual.dtype, torch.float32)).norm(dim=1))
        if len(norms) == len(layers):
            raise _LastLayerPassedError

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        at_lam(model, torch.full((), lam, device=images.device), images)
    except _LastLayerPassedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(norms).mean(0)


@torch.no_grad()
def all_residuals(model: nn.Module, images: Tensor, lam: float, precision: str = "fp32", batch: int = 250) -> Tensor:
    """:func:`residuals` of any number of uint8 images (N, H, W, 3)."""
    parts = []
    for some in images.split(batch):
        with precision_of(some.device, precision):
            parts.append(residuals(model, to_pixels(some), lam))
    return torch.cat(parts)


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, lam: Tensor, precision: str = "fp32", batch: int = 250) -> Tensor:
    """Predicted classes (N,) of uint8 images (N, H, W, 3), each at its own λ (N,)."""
    parts = []
    for some, lams in zip(images.split(batch), lam.split(batch), strict=True):
        with precision_of(some.device, precision):
            parts.append(at_lam(model, lams, to_pixels(some)).argmax(1))
    return torch.cat(parts)


class _LastLayerPassedError(Exception):
    """Nothing behind the last CSC layer matters to the residual."""
