"""The numbers of a look at a model that are better read than seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina.lab.findings_plots import best_threshold
from retina.lab.page import Table


def finding_tables(plain: Mapping[str, Any]) -> list[Table]:
    """Return tables of what :meth:`retina.lab.findings.Findings.as_plain` gives."""
    tables = [Table("At a glance", ("what", "value"), _glance(plain)), _hardest(plain)]
    confused = [(true, predicted, f"{number:,}") for true, predicted, number in plain["confusion"]["most_confused"]]
    if confused:
        tables.append(Table("Most confused classes", ("in truth", "detected as", "objects"), confused))
    return tables


def percent(share: float | None) -> str:
    """Return ``share`` in percent, with a digit where it is small or near the whole; a dash for None."""
    if share is None:
        return "-"
    return f"{100 * share:.1f} %"


def _glance(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    anchors, shares = plain["num_anchors"], plain["gradient_shares"]
    positives, low = anchors["positive"], sum(plain["low_quality_positives"])
    best = best_threshold(plain)
    rows = [
        ("images", f"{plain['num_images']:,}"),
        ("anchors", f"{positives:,} positive, {anchors['negative']:,} background, {anchors['ignored']:,} ignored"),
        ("positives that are only the best anchor of their object", percent(low / positives if positives else None)),
        ("share of the pull at the shared features",
         f"classification {percent(shares['classification'])}, box {percent(shares['box'])}"),
        ("hardest 1 % of anchors: share of the gradient of this model's class loss",
         percent(plain["hardest_1_percent"]["own_gradient"])),
        ("score threshold of the best F1", "-" if best is None else f"{best[0]:.2f} (F1 {best[1]:.3f})"),
        ("detections inside crowd regions, left out", f"{plain['confusion']['in_crowds']:,}"),
    ]  # fmt: skip
    if plain["not_finite"]:
        rows.append(("anchors whose loss is not finite, left out", f"{plain['not_finite']:,}"))
    return rows


def _hardest(plain: Mapping[str, Any]) -> Table:
    by_group = plain["hardest_1_percent"]["focal_loss"]
    gammas: Sequence[str] = list(by_group["all"])
    rows = [[f"{float(gamma):g}", *(percent(by_group[group][gamma]) for group in by_group)] for gamma in gammas]
    names = {"all": "all anchors", "positive": "positives", "negative": "background"}
    title = f"Share of the focal loss that the hardest 1 % carry (alpha {plain['focal']['alpha']:g})"
    return Table(title, ("γ", *(names[group] for group in by_group)), rows)
