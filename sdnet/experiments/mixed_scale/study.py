"""The networks of the slides as one declared grid, for :func:`sdnet.experiments.deep_pursuit.study.run`."""

from sdnet.experiments.ablations.grid import Groups, Variant

DEPTHS = (1, 2, 4)
"""Blocks per stage; 4 are 25 layers."""
ITERATIONS = (1, 2, 4)
RESIDUAL = {"ml_csc": "plain (ML-CSC)", "res_csc": "Res-CSC", "res_csc_b": "ResNet (Res-CSC, B)"}

GRID = Groups(
    {
        "degradation": tuple(
            Variant(f"{label}, depth {depth}", arch, {"depth": depth, "iterations": 1})
            for depth in DEPTHS
            for arch, label in RESIDUAL.items()
        ),
        "unfolding": (
            Variant("MSDNet", "msdnet"),
            *(Variant(f"MSD-CSC, T = {count}", "msd_csc", {"iterations": count}) for count in ITERATIONS),
            *(Variant(f"ML-CSC, T = {count}", "ml_csc", {"depth": 1, "iterations": count}) for count in ITERATIONS),
        ),
    }
)
"""Accuracy against depth, and accuracy and reconstruction against T."""
