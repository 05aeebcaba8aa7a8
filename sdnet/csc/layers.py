"""Convolutional sparse coding layers: drop-in replacements for ``nn.Conv1d`` and ``nn.Conv2d``.

A convolution answers "how well does each filter match here?". A CSC layer answers "which few atoms,
laid down where, explain the whole input?": its output is the sparse code of its input (Eq. 4).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.csc.arguments import Size, check_channels, check_size, check_solver, one_of, pairs, per_dimension
from sdnet.csc.atoms import Atoms
from sdnet.csc.dictionary import PADDING_MODES, Dictionary, unit_norm
from sdnet.csc.gradients import checkpointed, implicit
from sdnet.csc.lam import CodingLayer, flat, is_many, slowed
from sdnet.csc.lasso import Lasso, check_signal
from sdnet.csc.solvers import Solution, solve, unroll
from sdnet.parameters import check
from sdnet.runtime import is_jit_traced, is_traced


class _CSCConv(Atoms, CodingLayer):
    dims: int

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
        lipschitz_first: bool = False,
        learn_lam: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        check_solver(method, gradient, tolerance, lam=lam, iterations=iterations, ridge=ridge)
        choices = {"nonnegative": nonnegative, "projected": projected, "lipschitz_first": lipschitz_first}
        for name, choice in {"bias": bias, **choices}.items():
            check(name, choice, bool)
        if lipschitz_first and not projected:
            raise ValueError("lipschitz_first needs atoms that are projected, after L is found; choose projected=True.")
        one_of("padding_mode", padding_mode, PADDING_MODES)
        one_of("lipschitz_method", lipschitz_method, (None, "fourier", "power"))
        one_of("learn_lam", learn_lam, (None, "layer", "channel"))
        kernel = per_dimension("kernel_size", kernel_size, self.dims, 1)
        check_size(in_channels, out_channels // groups, kernel)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel
        self.stride = per_dimension("stride", stride, self.dims, 1)
        self.dilation = per_dimension("dilation", dilation, self.dims, 1)
        self.padding = pairs(padding, self.kernel_size, self.stride, self.dilation)
        self.groups, self.padding_mode = groups, padding_mode
        self.iterations, self.nonnegative, self.ridge = iterations, nonnegative, ridge
        self.method, self.gradient, self.tolerance = method, gradient, tolerance
        self.projected, self.lipschitz_first = projected, lipschitz_first
        self._first_lam = float(lam)

        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *kernel, **options))
        self.bias = nn.Parameter(torch.zeros(out_channels, **options)) if bias else None
        first = torch.zeros((1, out_channels) if learn_lam == "channel" else (), **options)
        if learn_lam is None:
            self.register_buffer("lam", first)
        else:
            self.lam = nn.Parameter(first)
        self.follow(lipschitz_method)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew, also after ``to_empty``: random unit-norm atoms, and the λ that the layer was made with."""
        nn.init.kaiming_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.follow(self.lipschitz_method)
        if isinstance(self.lam, nn.Parameter):
            nn.init.constant_(self.lam, self._first_lam)
            self.see_lam()
        else:
            self.lam = torch.full_like(self.lipschitz, self._first_lam)
        if self.weight.is_meta:
            return  # of shapes only
        with torch.no_grad():
            self.weight.copy_(unit_norm(self.weight))
        self.begin_()

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """As :meth:`sdnet.csc.atoms.Atoms.project_`; a λ that is learned and negative becomes 0."""
        super().project_(power_steps)
        if isinstance(self.lam, nn.Parameter):
            self.lam.clamp_(min=0)
            self.see_lam()

    @property
    def dictionary(self) -> Dictionary:
        """The layer's dictionary A, sharing its weight."""
        return Dictionary(self.weight, self.stride, self.padding, self.dilation, self.groups, self.padding_mode)

    def forward(self, signal: Tensor) -> Tensor:
        """The sparse code (N, C, ...) of ``signal`` (N, M, ...), plus the bias if there is one.

        Raises:
            ValueError: if the signal has the wrong type or shape, or, on a CPU, where looking costs no
                synchronisation, is not finite; if λ was written into and is now negative or not finite; or if the
                weight was changed and not projected.
        """
        if isinstance(signal, torch.fx.Proxy):
            return _as_leaf(self, signal)
        self.check_projected()
        if is_many(self.lam):
            return self.many_codes(signal, flat(self.lam))
        lasso = self.lasso(signal)
        if not is_traced():
            lasso.check_lam_shape()
            self.look_at(signal)
        elif self.gradient != "unrolled" and is_jit_traced():
            raise ValueError(f"torch.jit.trace records unrolled steps only; got gradient={self.gradient!r}.")
        step_size = 1 / self.lipschitz
        if self.gradient == "implicit":
            code = implicit(lasso, step_size, self.iterations, self.method, tolerance=self.tolerance)
        elif self.gradient == "checkpointed" and torch.is_grad_enabled():
            code = checkpointed(lasso, step_size, self.iterations, self.method)
        else:
            code = unroll(lasso, step_size, self.iterations, self.method)
        return self._shifted(code)

    def many_codes(self, signal: Tensor, lams: Tensor) -> Tensor:
        """The codes at each of K λ, by unrolled steps; see :meth:`sdnet.csc.lam.CodingLayer.many_codes`."""
        dictionary = self.dictionary
        if not is_traced():
            check_signal(signal, dictionary)
            self.look_at(signal)
        step_size = 1 / self.lipschitz
        correlation = dictionary.with_weight(step_size * self.weight).analysis(signal)
        # Unlike repeat(), cat() keeps channels-last memory.
        repeated, correlation = torch.cat([signal] * len(lams)), torch.cat([correlation] * len(lams))
        lam = lams.repeat_interleave(len(signal), 0)
        lasso = Lasso(dictionary, repeated, lam, self.nonnegative, self.ridge)
        code = unroll(lasso, step_size, self.iterations, self.method, correlation)
        return self._shifted(code)

    def _shifted(self, code: Tensor) -> Tensor:
        return code if self.bias is None else code + self.bias.to(code.dtype).view(-1, *[1] * self.dims)

    def lasso(self, signal: Tensor) -> Lasso:
        """The problem (Eq. 4) that this layer poses for ``signal``."""
        dictionary, lam = self.dictionary, self.lam
        if not is_traced():
            check_signal(signal, dictionary)
        if isinstance(lam, nn.Parameter):
            sharing = math.prod(dictionary.code_size(signal.shape[2:])) * self.out_channels / lam.numel()
            lam = slowed(lam, sharing**-0.5)
        return Lasso(dictionary, signal, lam, self.nonnegative, self.ridge)

    def solve(self, signal: Tensor, *, iterations: int = 1000, tolerance: float | None = 1e-6) -> Solution:
        """Solve the layer's problem with FISTA to a certified duality gap, whatever ``iterations`` it runs."""
        return solve(self.lasso(signal), iterations=iterations, tolerance=tolerance, restart=True)

    def residual(self, signal: Tensor, code: Tensor | None = None) -> Tensor:
        """x − A(z) for the code z that the layer gave for ``signal``; None for that of its own iterations, detached."""
        lasso = self.lasso(signal)
        if code is not None:
            return lasso.residual(code if self.bias is None else code - self.bias.view(-1, *[1] * self.dims))
        if not is_traced():
            lasso.check_lam_shape()
            self.look_at(signal)
        with torch.no_grad():
            return lasso.residual(unroll(lasso, 1 / self.lipschitz, self.iterations, self.method))

    def extra_repr(self) -> str:
        lam = f"{self.lam.item():g}" if self.lam.dim() == 0 else f"tensor{tuple(self.lam.shape)}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"lam={lam}, iterations={self.iterations}, nonnegative={self.nonnegative}, method={self.method}"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # λ is data: a saved network may carry one λ per channel where this one has a scalar.
        saved = state_dict.get(prefix + "lam")
        if saved is not None and saved.shape != self.lam.shape and not isinstance(self.lam, nn.Parameter):
            self.lam = self.lam.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
        # A plain convolution's weights come without L; the old one would make steps far too long for them.
        if prefix + "weight" in state_dict and prefix + "lipschitz" not in state_dict and not self.lipschitz.is_meta:
            self.begin_()


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
        lipschitz_first: find L for the atoms before they are projected, as the authors' code does.
        learn_lam: make λ a parameter that begins at ``lam``: ``"layer"``, one number, or ``"channel"``, one per atom;
            None: a buffer. :func:`sdnet.project_` keeps it >= 0. Its gradient is divided by the square root of the
            number of entries of a code that share it, as Esser et al. (2020) do for a learned step size.

    Raises:
        ValueError: for any argument out of its range.
    """

    dims = 2


def _as_leaf(layer: nn.Module, signal: torch.fx.Proxy) -> Any:
    """The call of a layer as ``torch.fx`` records a convolution's: one node that keeps the layer, λ and all."""
    path = signal.tracer.path_of_module(layer)  # type: ignore[attr-defined]
    return signal.tracer.create_proxy("call_module", path, (signal,), {})


def csc_layers(model: nn.Module) -> list[tuple[str, _CSCConv]]:
    """The CSC layers of a network with their names, in the order in which it holds them."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, _CSCConv)]
