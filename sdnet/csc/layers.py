"""Convolutional sparse coding layers: drop-in replacements for ``nn.Conv1d`` and ``nn.Conv2d``.

A convolution answers "how well does each filter match here?". A CSC layer answers "which few atoms,
laid down where, explain the whole input?": its output is the sparse code of its input (Eq. 4).
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from sdnet.csc.dictionary import PADDING_MODES, Dictionary, unit_norm
from sdnet.csc.gradients import GRADIENTS, checkpointed, implicit
from sdnet.csc.lasso import Lasso, check_lam, check_signal, is_finite
from sdnet.csc.lipschitz import falls_short, fourier_bound, power_iteration, random_probe
from sdnet.csc.projection import Projected, Watched, as_leaf, off_sphere
from sdnet.csc.solvers import METHODS, Solution, solve, unroll
from sdnet.parameters import NETWORK, Range, check
from sdnet.runtime import is_jit_traced, is_traced

Size = int | Sequence[int]
SMALL_SIDE = 16
"""Up to this many signal (or code) channels the Fourier bound is the cheaper way to L."""


class _CSCConv(Projected, Watched):
    dims: int
    weight: nn.Parameter
    lam: Tensor
    lipschitz: Tensor
    probe: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: str = "zeros",
        *,
        lam: float = 0.1,
        iterations: int = 2,
        nonnegative: bool = True,
        ridge: float = 0.0,
        method: str = "fista",
        gradient: str = "unrolled",
        tolerance: float | None = None,
        lipschitz_method: str | None = None,
        projected: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_channels(in_channels, out_channels, groups)
        _check_solver(method, gradient, tolerance, lam=lam, iterations=iterations, ridge=ridge)
        for name, choice in (("bias", bias), ("nonnegative", nonnegative), ("projected", projected)):
            check(name, choice, bool)
        _one_of("padding_mode", padding_mode, PADDING_MODES)
        _one_of("lipschitz_method", lipschitz_method, (None, "fourier", "power"))
        kernel = _per_dimension("kernel_size", kernel_size, self.dims, 1)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel
        self.stride = _per_dimension("stride", stride, self.dims, 1)
        self.dilation = _per_dimension("dilation", dilation, self.dims, 1)
        self.padding = self._pairs(padding)
        self.groups, self.padding_mode = groups, padding_mode
        self.iterations, self.nonnegative, self.ridge = iterations, nonnegative, ridge
        self.method, self.gradient, self.tolerance, self.projected = method, gradient, tolerance, projected
        small_side = min(in_channels // groups * math.prod(self.stride), out_channels // groups)
        self._first_lam = float(lam)
        self.lipschitz_method = lipschitz_method or ("fourier" if small_side <= SMALL_SIDE else "power")

        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *kernel, **options))
        self.bias = nn.Parameter(torch.zeros(out_channels, **options)) if bias else None
        self.register_buffer("lam", torch.empty((), **options))
        self.register_buffer("lipschitz", torch.ones((), **options))
        if self.lipschitz_method == "power":
            self.register_buffer("probe", torch.empty_like(random_probe(self.dictionary)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew, also after ``to_empty``: random unit-norm atoms, and the λ that the layer was made with."""
        nn.init.kaiming_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.lam = torch.full_like(self.lipschitz, self._first_lam)
        with torch.no_grad():
            self.weight.copy_(unit_norm(self.weight))
            if self.lipschitz_method == "power":
                self.probe.copy_(random_probe(self.dictionary))
        self.project_(power_steps=30)

    @property
    def dictionary(self) -> Dictionary:
        """The layer's dictionary A, sharing its weight."""
        return Dictionary(self.weight, self.stride, self.padding, self.dilation, self.groups, self.padding_mode)

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """Put the atoms back on the unit sphere (Eq. 5) and bring the Lipschitz constant up to date.

        A layer with ``projected=False`` does the latter only.

        Call it after every change of the weight: :func:`sdnet.project_` does so for a whole network, and
        :func:`sdnet.project_after_step` after every step of an optimizer. ``power_steps`` counts the power
        iterations where the layer uses these; a warm start makes one enough during training.
        """
        self.refuse_computed()
        if self.projected:
            self.weight.copy_(unit_norm(self.weight))
        if self.lipschitz_method == "fourier":
            self.lipschitz.copy_(fourier_bound(self.dictionary))
        else:
            norm, probe = power_iteration(self.dictionary, self.probe, power_steps)
            # An estimate from below: the margin keeps the step size under 1/L.
            self.lipschitz.copy_((norm / 0.9).clamp_min(torch.finfo(norm.dtype).tiny))
            self.probe.copy_(probe)
        self.see()

    @torch.no_grad()
    def fault(self) -> str | None:
        off = off_sphere(self.weight) if self.projected else None
        return off or falls_short(self.lipschitz, self.dictionary, self._buffers.get("probe"))

    def forward(self, signal: Tensor) -> Tensor:
        """The sparse code (N, C, ...) of ``signal`` (N, M, ...), plus the bias if there is one.

        Raises:
            ValueError: if the signal has the wrong type, shape or (where looking costs no
                synchronisation, on a CPU) is not finite; or if the weight was changed and not projected.
        """
        if isinstance(signal, torch.fx.Proxy):
            return as_leaf(self, signal)
        lasso = self.lasso(signal)
        self.check_projected()
        if not is_traced():
            check_signal(signal, lasso.dictionary)
            lasso.check_lam_shape()
            if signal.device.type == "cpu" and not is_finite(signal):
                lasso.check()
        elif self.gradient != "unrolled" and is_jit_traced():
            raise ValueError(f"torch.jit.trace records unrolled steps only; got gradient={self.gradient!r}.")
        step_size = 1 / self.lipschitz
        if self.gradient == "implicit":
            code = implicit(lasso, step_size, self.iterations, self.method, tolerance=self.tolerance)
        elif self.gradient == "checkpointed" and torch.is_grad_enabled():
            code = checkpointed(lasso, step_size, self.iterations, self.method)
        else:
            code = unroll(lasso, step_size, self.iterations, self.method)
        return code if self.bias is None else code + self.bias.to(code.dtype).view(-1, *[1] * self.dims)

    def lasso(self, signal: Tensor) -> Lasso:
        """The problem (Eq. 4) that this layer poses for ``signal``."""
        return Lasso(self.dictionary, signal, self.lam, self.nonnegative, self.ridge)

    def solve(self, signal: Tensor, *, iterations: int = 1000, tolerance: float | None = 1e-6) -> Solution:
        """Solve the layer's problem with FISTA to a certified duality gap, whatever ``iterations`` it runs."""
        return solve(self.lasso(signal), iterations=iterations, tolerance=tolerance, restart=True)

    @torch.no_grad()
    def residual(self, signal: Tensor) -> Tensor:
        """x − A(z) for the code z that the layer's own iterations give."""
        lasso = self.lasso(signal)
        return lasso.residual(unroll(lasso, 1 / self.lipschitz, self.iterations, self.method))

    def extra_repr(self) -> str:
        lam = f"{self.lam.item():g}" if self.lam.dim() == 0 else f"tensor{tuple(self.lam.shape)}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"lam={lam}, iterations={self.iterations}, nonnegative={self.nonnegative}, method={self.method}"
        )

    def _pairs(self, padding: Size | str) -> tuple[tuple[int, int], ...]:
        if padding == "valid":
            return ((0, 0),) * self.dims
        if padding == "same":
            if any(s != 1 for s in self.stride):
                raise ValueError(f"padding='same' needs stride 1; got stride={self.stride}.")
            spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple((span // 2, span - span // 2) for span in spans)
        if isinstance(padding, str):
            raise ValueError(f"padding must be a number, 'same' or 'valid'; got {padding!r}.")
        return tuple((p, p) for p in _per_dimension("padding", padding, self.dims, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # λ is data: a saved network may carry one λ per channel where this one has a scalar.
        saved = state_dict.get(prefix + "lam")
        if saved is not None and saved.shape != self.lam.shape:
            self.lam = self.lam.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


class CSCConv1d(_CSCConv):
    """Convolutional sparse coding of 1-D signals; see :class:`CSCConv2d`."""

    dims = 1


class CSCConv2d(_CSCConv):
    """Convolutional sparse coding layer: the paper's CSC layer, in the argument order of ``nn.Conv2d``.

    The output is the code z after ``iterations`` steps of FISTA on Eq. 4 of the paper,

        min_z  λ‖z‖₁ + ridge/2 ‖z‖² + ½‖x − A(z)‖²   (with z >= 0 if ``nonnegative``),

    where A is the dictionary of ``out_channels`` atoms. Weight, output size and parameter count are those
    of an ``nn.Conv2d`` without bias. The defaults are the paper's (λ = 0.1, two iterations), non-negative
    as in the authors' code. In ``eval`` and in ``train`` mode the output depends on input, weight, λ and the
    buffer ``lipschitz``, and on nothing else. Under autocast the code has autocast's type, as a convolution's
    output has; for tens of iterations leave autocast, since rounding adds up.

    Args:
        in_channels: M, channels of the signal.
        out_channels: C, number of atoms.
        kernel_size, stride, dilation, groups: as in ``nn.Conv2d``.
        padding: a number, a pair, ``"same"`` or ``"valid"``.
        bias: add one learned number per channel to the code.
        padding_mode: ``"zeros"`` or ``"circular"``.
        lam: λ >= 0, in units of the input. Change it with :func:`sdnet.set_lam`.
        iterations: proximal-gradient steps, >= 1.
        nonnegative: constrain the code to z >= 0.
        ridge: elastic-net weight >= 0.
        method: ``"fista"``, ``"ista"`` or ``"heavy_ball"`` (see :mod:`sdnet.csc.solvers`).
        gradient: ``"unrolled"``, ``"checkpointed"`` or ``"implicit"`` (see :mod:`sdnet.csc.gradients`).
        tolerance: relative duality gap at which an implicit layer stops early.
        lipschitz_method: ``"fourier"`` (certified bound), ``"power"`` (warm-started power iteration), or
            None: Fourier for up to 16 input channels, where it is cheap.
        projected: keep the atoms at unit norm, as Eq. 5 demands. Otherwise they start there and grow or shrink as
            training likes, and λ loses its unit with them.

    Raises:
        ValueError: for any argument out of its range.
    """

    dims = 2


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    for name, number in [("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)]:
        check(name, number, Annotated[int, Range(1)])
    if in_channels % groups or out_channels % groups:
        raise ValueError(f"groups must divide in_channels={in_channels} and out_channels={out_channels}; got {groups}.")


def _check_solver(method: str, gradient: str, tolerance: float | None, **numbers: float) -> None:
    for name, number in {**numbers, "tolerance": tolerance}.items():
        check(name, number, NETWORK[name])
    _one_of("method", method, METHODS)
    _one_of("gradient", gradient, GRADIENTS)
    if tolerance is not None and gradient != "implicit":
        raise ValueError(f"tolerance belongs to gradient='implicit'; got gradient={gradient!r}.")


def _one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def _per_dimension(name: str, value: Size, dims: int, least: int) -> tuple[int, ...]:
    values = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(values) != dims or not all(isinstance(v, int) and v >= least for v in values):
        raise ValueError(f"{name} must be an integer >= {least}, or {dims} of them; got {value!r}.")
    return values


def csc_layers(model: nn.Module) -> list[tuple[str, _CSCConv]]:
    """The CSC layers of a network with their names, in the order in which it holds them."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, _CSCConv)]


def set_lam(model: nn.Module, lam: Tensor | float, where: Callable[[str], bool] = lambda name: True) -> None:
    """Set λ of every CSC layer of a network: the one knob that Algorithm 1 turns.

    Args:
        lam: a number, or a tensor of shape () for all images, (N,) for one λ per image of the batches to
            come, (1, C) per channel, or (N, C).
        where: which layers, by name; all by default.

    Raises:
        ValueError: if a λ is negative or not finite, or the network has no CSC layer that ``where`` accepts.
    """
    lam = torch.as_tensor(lam, dtype=torch.get_default_dtype() if not isinstance(lam, Tensor) else None)
    check_lam(lam)
    layers = [layer for name, layer in csc_layers(model) if where(name)]
    if not layers:
        raise ValueError("set_lam found no CSC layer in this network; convert one with sdnet.convert first.")
    for layer in layers:
        layer.lam = lam.to(layer.weight).clone()
