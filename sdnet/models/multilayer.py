"""ML-CSC and Res-CSC: a CNN and a ResNet as sparse coding, layer by layer.

S. Zhang's slides "From Sparse Coding to Deep Learning" (2024), after Papyan, Romano and Elad (JMLR 2017) for ML-CSC and
Z. Zhang and S. Zhang (National Science Review 8(3), 2021) for Res-CSC. Layer i codes the code before it,
X_{i−1} ≈ D_i X_i, by steps of ISTA or FISTA from a start that makes the difference:

* ML-CSC starts at zero (Eq. 2): one step is relu(Dᵀx/L − λ/L), a convolution with a bias and a ReLU;
* Res-CSC starts the second layer of every block at the code of two layers before, X₋₁ (Eqs. 3 and 4): one step is
  relu(X₋₁ + Dᵀ(x − D X₋₁)/L − λ/L), a residual block whose convolution sees what the skip connection leaves over;
* its variant B keeps of this relu(X₋₁ + Dᵀx/L − λ/L), the residual block of a ResNet itself. (The slides show the
  variant in a picture only, which is not in the text that we have: this is our reading of their last table, in which
  ResNet is "start at X₋₁".)
"""

from torch import Tensor, nn

from sdnet.csc.layers import CSCConv2d
from sdnet.csc.solvers import Iterate, ProximalStep, next_iterate
from sdnet.models.classifier import Classifier
from sdnet.models.pursuit import plan, shortcut
from sdnet.names import unknown_name

METHODS = ("ista", "fista")


class MultiLayer(Classifier):
    """A chain of CSC layers (:func:`sdnet.models.pursuit.plan`), each solved before the next begins.

    As in SDNet-All, batch normalisation stands between the layers, so that one λ suits them all; it is the same knob
    (:func:`sdnet.set_lam`).

    Args:
        num_classes, width, depth: as in :class:`sdnet.models.pursuit.PursuitNet`.
        iterations: steps of each layer, >= 1.
        method: ``"ista"`` or ``"fista"``.
        start: ``"zero"`` (ML-CSC), ``"residual"`` (Res-CSC) or ``"shortcut"`` (its variant B).
        lam: λ >= 0.

    Raises:
        ValueError: for an unknown method.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depth: int = 1,
        iterations: int = 1,
        method: str = "ista",
        start: str = "zero",
        lam: float = 0.1,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(unknown_name("method", method, METHODS))
        self.method, self.start = method, start
        self.plan = plan(width, depth)
        self.layers = nn.ModuleList(
            CSCConv2d(i, o, 3, s, 1, lam=lam, iterations=iterations, method=method) for i, o, s in self.plan
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _ in self.plan)
        self.head = nn.Linear(self.plan[-1][1], num_classes)

    @property
    def iterations(self) -> int:
        """Steps of each layer."""
        first = self.layers[0]
        assert isinstance(first, CSCConv2d)
        return first.iterations

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        code = self.codes(self.normalize(images))[-1]
        scores: Tensor = self.head(self.norms[-1](code).mean((2, 3)))
        return scores

    def codes(self, signal: Tensor) -> list[Tensor]:
        """The codes of all layers for a normalised image."""
        codes: list[Tensor] = []
        for j, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            assert isinstance(layer, CSCConv2d)
            residual = self.start != "zero" and j > 0 and j % 2 == 0
            earlier = shortcut(0, *self.plan[j - 1])(codes[j - 2]) if residual else None
            codes.append(self.code(layer, signal, earlier))
            signal = norm(codes[-1])
        return codes

    def code(self, layer: CSCConv2d, signal: Tensor, earlier: Tensor | None = None) -> Tensor:
        """The code of one layer; ``earlier`` is X₋₁, or None to start at zero."""
        if earlier is None:
            code: Tensor = layer(signal)
            return code
        lasso, step_size = layer.lasso(signal), 1 / layer.lipschitz
        step = ProximalStep(lasso, step_size)
        iterate, first = Iterate(earlier, earlier), 0
        if self.start == "shortcut":
            values = layer.dictionary.analysis(signal) - lasso.penalty
            code = (earlier + step_size * values).relu()
            iterate, first = Iterate(code, code), 1
        for _ in range(first, layer.iterations):
            iterate = next_iterate(step, self.method, iterate)
        return iterate.code
