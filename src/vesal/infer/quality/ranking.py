"""How well predicted Dice ranks scans."""

from __future__ import annotations

import numpy as np

from vesal.infer.quality.quality_model import RiskCoverage
from vesal.infer.quality.stored import Array


def rank_correlation(one: Array, other: Array) -> float | None:
    """Spearman's; None where it is not defined."""
    from scipy.stats import spearmanr

    if len(one) < 3 or min(np.ptp(one), np.ptp(other)) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def risk_coverage(predicted: Array, true: Array) -> RiskCoverage:
    """The curve of predicted over true Dice of the same scans.

    Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    """
    order = np.argsort(-predicted, kind="stable")
    counts = np.arange(1, len(true) + 1)

    def curve(losses: Array) -> Array:
        return np.cumsum(losses) / counts

    risks, best = curve((1 - true)[order]), curve(np.sort(1 - true))
    return RiskCoverage(
        points=[
            (round(share, 5), round(risk, 5))
            for share, risk in zip((counts / len(true)).tolist(), risks.tolist(), strict=True)
        ],
        area=float(risks.mean()),
        area_of_best_order=float(best.mean()),
        area_of_no_order=float((1 - true).mean()),
    )
