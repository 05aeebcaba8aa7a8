"""The pursuits of :mod:`sdnet.csc.network`: layered thresholding, layered basis pursuit, deep pursuit; one solver."""

from collections.abc import Callable, Sequence
from operator import itemgetter

import torch
from torch import Tensor

from sdnet.csc.network import Network, per_channel

SCHEDULES = ("layered", "deep")
Watch = Callable[[int, int, list[Tensor]], None]


def feed_forward(network: Network, signal: Tensor) -> list[Tensor]:
    """w_j = prox(B_jᵀ u_j) layer by layer (Eqs. 9 and 17): the network itself, and the first iteration of a pursuit."""
    network.shapes(tuple(signal.shape[1:]))
    codes = [signal]
    for j, layer in enumerate(network.layers, start=1):
        codes.append(layer.shrink(layer.operator.analysis(network.target(j, codes))))
    return codes[1:]


def pursue(
    network: Network,
    signal: Tensor,
    codes: Sequence[Tensor],
    steps: int,
    schedule: str = "deep",
    *,
    extrapolation: float | Sequence[float] = 0.0,
    watch: Watch | None = None,
) -> list[Tensor]:
    """Block-coordinate proximal gradient steps on Eq. 11 from the given codes.

    ``"layered"`` makes all steps of a layer before the next one begins and feeds nothing back: layered basis pursuit
    (Eq. 10, Algorithm 1), in which a layer explains the final codes before it. ``"deep"`` makes one step in every layer
    and repeats, each with the feedback of the layers that it feeds: deep pursuit (Eqs. 13–15, with skip connections
    Eq. 18, Algorithm 2). The step size of layer j is 1/(β_j L_j), where L_j bounds the curvature of what the step
    looks at: B_jᵀB_j, and in deep pursuit Σ C_ijᵀC_ij too. At β = 1 and without extrapolation no step of deep pursuit
    increases Eq. 11. A step takes two convolutions per layer.

    Args:
        signal: x, (N, M, ...).
        codes: where to start, from :func:`feed_forward` for instance; one per layer.
        steps: of each layer, >= 0. T iterations of the documents are a feed-forward pass and T − 1 steps.
        schedule: a name of :data:`SCHEDULES`.
        extrapolation: α in [0, 1) of Eq. 14; or one per step, as :func:`fista_weights`.
        watch: is called after each step of a layer with its number (from 1), that of the step (from 1), and all codes.

    Raises:
        ValueError: for an argument out of its range, or connections that do not fit.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {schedule!r}.")
    weights = [extrapolation] * steps if isinstance(extrapolation, float | int) else list(extrapolation)
    if steps < 0 or len(weights) != steps or not all(0 <= weight < 1 for weight in weights):
        raise ValueError(
            f"extrapolation must be in [0, 1), a number or one for each of the steps >= 0; got {extrapolation!r} for "
            f"{steps} steps."
        )
    state = _State(network, signal, codes)
    order = [(j, t) for j in range(1, len(network.layers) + 1) for t in range(steps)]
    for j, t in order if schedule == "layered" else sorted(order, key=itemgetter(1)):
        state.update(j, weights[t], deep=schedule == "deep")
        if watch is not None:
            watch(j, t + 1, state.codes[1:])
    return state.codes[1:]


def fista_weights(steps: int) -> list[float]:
    """The extrapolation of FISTA, step by step: (t_k − 1)/t_{k+1} (slides; Beck and Teboulle 2009, Eq. 4.3)."""
    weights, t, last = [], 1.0, 1.0
    for _ in range(steps):
        weights.append((last - 1) / t)
        last, t = t, (1 + (1 + 4 * t**2) ** 0.5) / 2
    return weights


class _State:
    """Codes of all layers (the signal is number 0), and B_j w_j of each as soon as somebody asks: it is computed once
    for each code, since the image of an extrapolated code is the extrapolated image."""

    def __init__(self, network: Network, signal: Tensor, codes: Sequence[Tensor]) -> None:
        inputs, wanted = network.shapes(tuple(signal.shape[1:]))
        shapes = [tuple(code.shape[1:]) for code in codes]
        if shapes != wanted:
            raise ValueError(f"codes must have the shapes {wanted} of the layers; got {shapes}.")
        self.network, self.codes = network, [signal, *codes]
        self.sizes = [shape[1:] for shape in inputs]
        self.images: list[Tensor | None] = [None] * len(self.codes)
        self.before: list[tuple[Tensor, Tensor] | None] = [None] * len(self.codes)

    def image(self, j: int) -> Tensor:
        image = self.images[j]
        if image is None:
            operator = self.network.layers[j - 1].operator
            self.images[j] = image = operator.synthesis(self.codes[j], self.sizes[j - 1])
        return image

    def update(self, j: int, momentum: float, deep: bool) -> None:
        layer, before = self.network.layers[j - 1], self.before[j]
        now = point, image = self.codes[j], self.image(j)
        if momentum and before is not None:
            point, image = (torch.lerp(a, b, 1 + momentum) for a, b in zip(before, now, strict=True))
        # Where the code is non-negative, λ is a bias of the convolution, and the prox a ReLU: two passes less.
        bias = -layer.lam.expand(layer.operator.atoms) if layer.signed is None else None
        ascent = layer.operator.analysis(self.network.target(j, self.codes) - image, bias)
        curvature = layer.curvature
        self.codes[j] = point  # where the later layers look at it
        for i, connection in self.network.feedback[j - 1] if deep else ():
            left = self.network.target(i, self.codes) - self.image(i)
            ascent.sub_(connection.adjoint(left, point.shape[2:]))
            curvature = curvature + connection.bound
        step = 1 / (layer.beta * torch.as_tensor(curvature))
        values = torch.addcmul(point, torch.as_tensor(per_channel(step, point)).to(ascent), ascent)
        code = layer.shrink(values, step) if bias is None else values.relu_()
        self.codes[j] = code.to(point.dtype)  # under autocast the step is more exact than the code
        self.before[j], self.images[j] = now, None
