"""The file of fitted anchors, and the sentence that says whether they are worth having."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retina.anchors.fit import LEAST_GAIN, Gain
from retina.config.compose import CONFIGS
from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError
from retina.files import write_text_atomically

NAME = "fitted"  # of the option in the folder of the report

Rows = Sequence[tuple[str, Mapping[str, Any]]]  # "train before" and its figures


_ENOUGH = 0.99  # a higher overlap of boxes that are positive anyway has not been seen to train better
_MEANING = {"iou": "mean IoU with the best anchor", "share": "share of boxes that reach the threshold"}


@dataclass(frozen=True)
class Verdict:
    """Whether boxes that were not fitted to say that the fitted anchors are better."""

    keep: bool  # the present anchors
    gains: Mapping[str, tuple[float, float | None]]  # by goal, with the standard error; None: one image cannot tell
    text: str

    @classmethod
    def of(cls, gains: Mapping[str, Gain], *, goal: str, judge: str, reached: float, changed: bool) -> Verdict:
        """Judge the gains by goal on ``judge``, of whose boxes the present anchors reach the share ``reached``.

        Without a change there is nothing to judge, and where nearly all boxes are reached nothing to mend.
        """
        measured = f"{_MEANING[goal]} {gains[goal].mean:+.4f} +- {gains[goal].standard_error:.4f} on {judge}"
        pays = changed and gains[goal].pays
        enough = reached >= _ENOUGH
        worse = [other for other, found in gains.items() if found.mean <= -LEAST_GAIN]
        if not changed:
            text = "The present anchors fit: no better ones were found, keep them"
        elif not pays:
            text = f"The present anchors fit: keep them ({measured}: nothing, or chance)"
        elif enough:
            text = f"The present anchors fit: keep them, they reach {100 * reached:.1f} % of the boxes ({measured})"
        elif worse:
            text = f"Keep the present anchors: {measured}, but {_MEANING[worse[0]]} {gains[worse[0]].mean:+.4f}"
        else:
            text = f"The fitted anchors fit better: {measured}"
        finite = {name: (found.mean, found.standard_error if math.isfinite(found.standard_error) else None)
                  for name, found in gains.items()}  # fmt: skip
        return cls(not pays or enough or bool(worse), finite, text)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text


def refuse_existing(save_as: str | None) -> None:
    """Raise ConfigError where ``configs/anchors/<save_as>.yaml`` stands already; files there are never overwritten."""
    if save_as is not None and (path := _option_file(save_as)).exists():
        raise ConfigError(
            f"save_as={save_as} would overwrite an option of anchors: {path}",
            why="a run that names it would change.",
            fix="choose another name, or remove the file first",
        )


def write_anchors(
    settings: Any, sections: Mapping[str, Any], anchors: AnchorGenerator, verdict: Verdict, rows: Rows
) -> None:
    """Write the fitted anchors as an option of the group into ``out``, with ``save_as`` also into ``configs/``."""
    out = Path(settings.out)
    path = out / "anchors" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    choice = f"--config-dir {out} anchors={NAME}"
    write_text_atomically(path, anchors_text(settings, sections, anchors, verdict, rows, choice))
    print(f"anchors written to {path}\nto use them: python train.py <the same settings> {choice}")
    if settings.save_as is not None:
        refuse_existing(settings.save_as)
        with _option_file(settings.save_as).open("x", encoding="utf-8") as file:
            file.write(anchors_text(settings, sections, anchors, verdict, rows, f"anchors={settings.save_as}"))
        print(f"and to {_option_file(settings.save_as)}: python train.py anchors={settings.save_as}")


def anchors_text(
    settings: Any, sections: Mapping[str, Any], anchors: AnchorGenerator, verdict: Verdict, rows: Rows, choice: str
) -> str:
    """Return the file: a comment with the data, the figures and both commands, then the whole section."""
    node, name = dict(sections["anchors"]), sections["dataset"]["name"]
    node |= {"base_scale": anchors.base_scale, "scales": list(anchors.scales),
             "aspect_ratios": list(anchors.aspect_ratios)}  # fmt: skip
    least = node.get("positive_iou", 0.5)
    image = settings.image
    lines = [
        f"python train.py dataset={name} {choice}",
        f"Anchors fitted to {name} train, sides {image.short_side}/{image.long_side} px.",
        f"{verdict}.",
        "Expect them to suit this data at this size only: fit again where either changes. Made by",
        f"  python tools/anchors.py {shlex.join(sys.argv[1:])}",
        *(
            f"{kind}: mean best IoU {row['all']['mean_iou']:.4f}, {100 * row['all']['reached']:.2f} % of "
            f"{row['all']['boxes']} boxes reach {least}, {row['all']['lost']} lost"
            for kind, row in rows
        ),
    ]
    comment = "\n".join(f"# {' '.join(line.splitlines())}" for line in lines)
    return f"{comment}\n{yaml.safe_dump(node, sort_keys=False, default_flow_style=None, width=120)}"


def _option_file(name: str) -> Path:
    return CONFIGS / "anchors" / f"{name}.yaml"
