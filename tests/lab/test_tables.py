"""Numbers in words."""

from __future__ import annotations

from retina.lab.tables import finding_tables, percent
from tests.lab.small_network import make_model
from tests.lab.test_findings import empty


def test_shares_are_percent_and_nothing_is_a_dash() -> None:
    assert [percent(0.5), percent(0.00123), percent(None)] == ["50.0 %", "0.1 %", "-"]


def test_what_was_left_out_is_told() -> None:
    plain = empty().as_plain()
    rows = dict(finding_tables({**plain, "not_finite": 3})[0].rows)
    assert rows["anchors whose loss is not finite, left out"] == "3"
    assert "detections inside crowd regions, left out" in rows
    assert rows["score threshold of the best F1"] == "-"
    assert "anchors whose loss is not finite, left out" not in dict(finding_tables(plain)[0].rows)


def test_confused_classes_come_with_their_names(lab) -> None:
    findings = lab()(make_model())
    findings.confusion.matrix[0, 1] = 7
    glance, hardest, confused = finding_tables(findings.as_plain())
    assert confused.rows[0] == ("cat", "<script>alert(1)</script>", "7")
    assert [row[0] for row in hardest.rows] == ["0", "0.5", "1", "2", "5"]
    assert all(len(row) == len(hardest.columns) for row in hardest.rows)
    assert dict(glance.rows)["images"] == "4"
