"""SCN, the supervised deep sparse coding network (Sun, Nasrabadi and Tran, arXiv 1701.08349): a rival of Table 1.

Its layer codes every patch of its input on its own,

    min_{z >= 0}  ½‖y − Dᵀz‖² + λ Σ z,

where y is a patch and the rows of D are the atoms. That is not the paper's Eq. 4: neighbouring patches overlap, but
their reconstructions are never added up. What a patch needs of the dictionary is D y and the Gram matrix G = D Dᵀ, so
that fifty steps of FISTA on a whole batch are fifty products with one small matrix.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdnet.csc.gradients import conjugate_gradients, first_only
from sdnet.csc.lam import CodingLayer, flat, is_many, slowed
from sdnet.csc.lasso import broadcast_lam, check_lam_shape
from sdnet.models.classifier import Classifier
from sdnet.runtime import is_traced, no_autocast

ROWS = 2048
"""Patches that go through all steps together on a CPU: few enough to stay in its cache, which is 3.5 times as fast."""


class PatchCoding2d(CodingLayer):
    """Non-negative sparse codes (N, C, ...) of the patches of a signal (N, M, ...), with a learned λ.

    Computed in float32 at least, whatever the autocast. The gradient is that of the minimiser: with g the gradient at
    the code and S its support, β = (D_S D_Sᵀ + εI)⁻¹ g_S gives those of all inputs. After finitely many steps the code
    is not the minimiser, and its support may have more atoms than can be independent. Along the eigenvectors of G below
    about L / iterations², L being the largest eigenvalue, FISTA has hardly moved then; ε has this value, so that the
    gradient does not either. (The authors' ε is 1e-6. On patches of photographs with 64 random unit atoms of 27 values
    and λ = 0.1, the gradient of fifty unrolled steps is matched with a cosine of 0.1 for the atoms and 0.4 for the
    patches by theirs, and of 0.7 and 0.8 by this one.)

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as in ``nn.Conv2d``.
        bias: only False: a code has none.
        lam: λ >= 0 to begin with. It is a parameter, one for all atoms; :func:`sdnet.project_` keeps it >= 0.
            :func:`sdnet.csc.lam.at_lam` evaluates at others, one for each image or atom too.
        lam_rate: λ's learning rate as a fraction of that of all else, > 0; see :func:`sdnet.csc.lam.slowed`.
        iterations: steps of FISTA, >= 1.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        *,
        lam: float = 0.0,
        lam_rate: float = 1.0,
        iterations: int = 50,
    ) -> None:
        super().__init__()
        if bias:
            raise ValueError("bias must be False: the patches' codes have none.")
        if not (math.isfinite(lam) and lam >= 0):
            raise ValueError(f"lam must be finite and >= 0; got {lam}.")
        if not (math.isfinite(lam_rate) and lam_rate > 0):
            raise ValueError(f"lam_rate must be finite and positive; got {lam_rate}.")
        if not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations must be an integer >= 1; got {iterations!r}.")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.padding, self.iterations, self.lam_rate = stride, padding, iterations, lam_rate
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.lam = nn.Parameter(torch.tensor(float(lam)))
        nn.init.normal_(self.weight, std=1 / (in_channels * kernel_size**2))  # as the authors do

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """Set a negative λ to 0. The atoms are free."""
        self.lam.clamp_(min=0)
        self.see_lam()

    def forward(self, signal: Tensor) -> Tensor:
        if is_many(self.lam):
            return self.many_codes(signal, flat(self.lam))
        lam = self.lam
        check_lam_shape(lam, len(signal), self.out_channels)
        if not is_traced():
            self.look_at(signal)
        if isinstance(lam, nn.Parameter):
            lam = slowed(lam, self.lam_rate)
        with no_autocast(signal.device):
            return self._codes(self._correlation(signal), lam)

    def many_codes(self, signal: Tensor, lams: Tensor) -> Tensor:
        """The codes at each of K λ; see :meth:`sdnet.csc.lam.CodingLayer.many_codes`."""
        if not is_traced():
            self.look_at(signal)
        with no_autocast(signal.device):
            correlation = torch.cat([self._correlation(signal)] * len(lams))
            return self._codes(correlation, lams.repeat_interleave(len(signal), 0))

    def residual(self, signal: Tensor, code: Tensor | None = None) -> Tensor:
        """y − Dᵀz for every patch y, (N, values of a patch, patches), for the code z that the layer gave.

        Without a code it is that of the layer's own λ, detached.
        """
        with no_autocast(signal.device):
            if code is None:
                code = self(signal).detach()
            exact = signal.to(torch.promote_types(signal.dtype, torch.float32))
            patches = F.unfold(exact, self.kernel_size, padding=self.padding, stride=self.stride)
            return patches - self.weight.flatten(1).T @ code.flatten(2)

    def _correlation(self, signal: Tensor) -> Tensor:
        """D y of every patch, (N, C, ...)."""
        signal = signal.to(torch.promote_types(signal.dtype, torch.float32))
        return F.conv2d(signal, self.weight, stride=self.stride, padding=self.padding)

    def _codes(self, correlation: Tensor, lam: Tensor) -> Tensor:
        atoms, last = self.weight.flatten(1), correlation.permute(0, 2, 3, 1)
        if lam.dim():
            lam = broadcast_lam(lam, 4).permute(0, 2, 3, 1)
            lam = lam.expand(*last.shape[:3], -1).reshape(-1, lam.shape[-1])
        codes = nonnegative_lasso(last.reshape(-1, self.out_channels), atoms @ atoms.T, lam, self.iterations)
        return codes.view(last.shape).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"iterations={self.iterations}"
        )


def nonnegative_lasso(correlation: Tensor, gram: Tensor, lam: Tensor, iterations: int) -> Tensor:
    """z (P, C) after ``iterations`` steps of FISTA on min_{z >= 0} ½ z G zᵀ − (c − λ) zᵀ, for each row c.

    Differentiable in all three tensors, with the gradient of :class:`PatchCoding2d`.

    Args:
        correlation: c = D y of P problems, (P, C).
        gram: G = D Dᵀ, (C, C).
        lam: λ, of shape (), or (P, 1 or C).
        iterations: steps, each a product with G.
    """
    codes: Tensor = _NonnegativeLasso.apply(correlation, gram, lam, iterations)
    return codes


def largest_eigenvalue(gram: Tensor, squarings: int = 16) -> Tensor:
    """L of a positive semi-definite matrix (C, C), from above: ‖G^m‖ ≥ Lᵐ in the Frobenius norm, with m = 2^squarings.

    Too large at most by √C to the power 1/m, 4 parts in 100,000 for C = 256, and that where all eigenvalues are equal;
    never below the type's smallest normal number. A solver of eigenvalues would wait for the device, and raises an
    error where G is not finite: here L is not finite either, and the training that diverged says so.
    """
    tiny, power, norms = torch.finfo(gram.dtype).tiny, gram, []
    for _ in range(squarings + 1):
        norms.append(torch.linalg.matrix_norm(power).clamp_min(tiny))
        power = power / norms[-1]
        power = power @ power
    exponents = 0.5 ** torch.arange(len(norms), dtype=gram.dtype, device=gram.device)
    return torch.stack(norms).pow(exponents).prod().clamp_min(tiny)


class _NonnegativeLasso(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, correlation: Tensor, gram: Tensor, lam: Tensor, iterations: int) -> Tensor:
        largest = largest_eigenvalue(gram)
        step = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) - gram / largest
        offset = (correlation - lam) / largest
        codes = torch.cat([_fista(rows, step, iterations) for rows in _in_cache(offset)])
        ctx.lam_shape = lam.shape
        ctx.save_for_backward(codes, gram, largest / iterations**2)
        return codes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        first_only(gradient)
        codes, gram, ridge = ctx.saved_tensors
        pairs = zip(_in_cache(codes), _in_cache(gradient), strict=True)
        beta = torch.cat([solve_on_support(gram, rows > 0, wanted, ridge) for rows, wanted in pairs])
        of_lam = -beta.sum_to_size(ctx.lam_shape) if ctx.lam_shape else -beta.sum()
        return beta, -beta.T @ codes, of_lam, None


def _in_cache(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.split(ROWS) if rows.device.type == "cpu" else (rows,)


def _fista(offset: Tensor, step: Tensor, iterations: int) -> Tensor:
    """Steps z ← relu(y (I − G/L) + (c − λ)/L) with FISTA's momentum, from z = 0."""
    code = offset.relu()
    point, t = code, (1 + math.sqrt(5)) / 2
    for _ in range(iterations - 1):
        previous, code = code, torch.addmm(offset, point, step).relu_()
        t, last = (1 + math.sqrt(1 + 4 * t**2)) / 2, t
        point = torch.lerp(previous, code, 1 + (last - 1) / t)
    return code


def solve_on_support(gram: Tensor, support: Tensor, gradient: Tensor, ridge: Tensor) -> Tensor:
    """β (P, C) with (G_SS + εI) β_S = g_S on each row's support S and zero elsewhere, by conjugate gradients.

    All rows share the products with G, which is what makes it fast: on a CPU a tenth of the time of a Cholesky factor
    per row. A row stops at a relative residual of the square root of the type's precision (3e-4 in float32), and all do
    after C steps, the most that exact arithmetic needs.

    Args:
        gram: G, (C, C).
        support: which atoms are active, (P, C), of bools.
        gradient: g, (P, C).
        ridge: ε >= 0, a scalar.
    """
    mask = support.to(gram.dtype)

    def curvature(direction: Tensor) -> Tensor:
        return torch.addcmul(direction @ gram, ridge, direction).mul_(mask)

    return conjugate_gradients(curvature, gradient * mask, len(gram), torch.finfo(gram.dtype).eps ** 0.5)


class SCN(Classifier):
    """The network of the authors' CIFAR experiments: 14 coding layers, alternately narrow and wide, 0.69 M parameters.

    Batch normalisation (eps 1e-4, nothing learned) stands before every coding layer and before the global average
    pooling; there is no other non-linearity, for a code is non-negative. The authors train with SGD, momentum 0.9,
    learning rates 0.1, 0.01 and 0.001 for 80, 80 and 40 epochs, weight decay 5e-4 and batches of 128.

    Args:
        num_classes: size of the output.
        width: channels of the first stage's wide layers; 64 is the authors'. Stages have width × (1, 2, 4) channels,
            and a quarter of these in the narrow layers.
        lam, iterations: of :class:`PatchCoding2d`. λ begins at 0, as the authors' does.
    """

    def __init__(self, num_classes: int, *, width: int = 64, lam: float = 0.0, iterations: int = 50) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for factor, pairs in ((1, 3), (2, 2), (4, 2)):
            wide = factor * width
            for pair in range(pairs):
                stride = 2 if factor > 1 and pair == 0 else 1
                for into, by in ((max(1, wide // 4), stride), (wide, 1)):
                    layers.append(nn.BatchNorm2d(channels, eps=1e-4, affine=False))
                    layers.append(PatchCoding2d(channels, into, 3, by, 1, lam=lam, iterations=iterations))
                    channels = into
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels, eps=1e-4, affine=False))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        scores: Tensor = self.head(self.layers(self.normalize(images)).mean((2, 3)))
        return scores
