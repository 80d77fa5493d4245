"""Every picture of the lab with its title and the words that say how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from retina.drawing.figures import styled
from retina.lab import curve_plots, findings_plots


@dataclass(frozen=True)
class Picture:
    """A figure, and what stands below it."""

    name: str  # of its file, and of its place in the page
    title: str
    caption: str
    draw: Callable[[], Figure]


_FOCAL = (
    "Each line is the loss of one score by the probability p_t that it gives to what is true, without alpha; it is the "
    "same for objects and for background. γ = 0 is cross-entropy. The larger γ, the flatter the loss of scores that "
    "are right already (shaded): a hundred thousand easy background anchors then cost less than a few hard ones. The "
    "logarithmic twin shows by how much: at p_t = 0.9 the loss of γ = 2 is a hundredth. (Lin et al. 2017, figure 1.)"
)
_CLASSIFICATION = (
    "Every loss as its file in configs/loss/classification sets it, alpha included, for an anchor with an object (left)"
    " and for background (right); below, the size of the slope in the logit, which is what moves the network. Read "
    "across: the distance between the two columns at the same p_t is the weight of objects against background. "
    "Lines in two colours lie on each other. Losses that look at the box take an IoU of 1, those that count how common "
    "a score is a density of 90 % easy and 1 % hard scores, those that normalise themselves a batch of this one score."
)
_FOCUS = (
    "The same, for several values of the exponent (gamma, or beta of the quality focal loss), all else as in its file. "
    "Where the lines of one side lie on each other the exponent does not touch that side: the varifocal loss focuses "
    "background only."
)
_IOU = (
    "Losses whose target is the overlap of the predicted box instead of 1. The score that costs least, where the slope "
    "is zero, is the IoU for the quality focal loss and for the varifocal loss alike; a line that falls all the way to "
    "the right belongs to a box without fault. An IoU of 0 makes the anchor background."
)
_HEAT = (
    "Background near the centre of an object costs less, by (1 − heat) to the power beta: an anchor beside the best one"
    " may score as well."
)
_DENSITY = (
    "A score's loss over how common its size of gradient is. With an even density it is cross-entropy; where 90 % of "
    "the scores are easy and 1 % very hard, both ends are held down and the middle counts most. The steps are the bins."
)
_BOX_HOW = (
    " Top: the loss with its weight. Bottom: the norm of its gradient in the four box codes, in which all losses are "
    "comparable. The true box is 100 pixels wide and is also the anchor. Where the gradient is 0 a box learns nothing; "
    "where it does not fall towards the true box the box keeps trembling around it."
)
_BOX = {
    "codes": "Losses of the box codes see nothing of the overlap: they grow for ever with the distance, and a small box"
    " counts like a large one." + _BOX_HOW,
    "overlaps": "Losses of the decoded boxes. IoU and its powers are flat once the boxes are apart (|shift| above 1): "
    "giou, diou and their kin still pull there. Steep near the true box means precise boxes late in training."
    + _BOX_HOW,
    "sums": "Weighted sums: far away the codes pull, near the true box the overlap refines." + _BOX_HOW,
}
_CUMULATIVE = (
    "Anchors sorted from easy to hard; the line is the share of the whole loss that they carry together. The diagonal "
    "would be the same loss for all. For negatives the line should hug the bottom and jump at the right: then the loss "
    "comes from the few that are hard, not from the mass. γ changes positives little and negatives much. The thick line"
    " is this model's own γ (Lin et al. 2017, figure 4; the loss of an anchor is the sum over its classes)."
)
_HARDEST = (
    "How much of the loss the hardest 1 % of anchors carry. With a small γ it is spread over anchors that are right "
    "already; near 100 % a few anchors, perhaps wrong labels, decide everything. The upright line is this model's γ."
)
_SCORES = (
    "What anchors give to what is true, counts on a logarithmic axis. Good: positives pile up at the right, background "
    "far to the right with a thin tail. Background at the left are false alarms or objects without a label. Ignored "
    "anchors (overlap between the thresholds, or in a crowd) have no loss: they may lie anywhere."
)
_POSITIVES = (
    "Which levels and classes training signal comes from. A level without positives learns boxes of no object; many "
    "anchors that are only the best of their object mean that sizes and shapes of the anchors do not fit the data "
    "(anchors=small, anchors.aspect_ratios). A class with few positives is one that γ and alpha cannot help."
)
_GRADIENT = (
    "How hard each loss pulls at the features that both subnets share: the norm of the gradient of each loss in the "
    "outputs of the pyramid, as shares; at the right, which part of both (of the squared norm) a level has. Far from "
    "even, one task is learned and the other is carried along: change loss.box.weight."
)
_LEVEL_LOSS = (
    "Where the two losses of this model arise; over all positives of all levels, so that levels add up to the loss of "
    "the log (unless the loss normalises itself). A level with a large loss and few positives is mostly false alarms."
)
_CONFUSION = (
    "Rows are true classes, columns what was detected with IoU 0.5 or more; the colour is the share of the row, the "
    "number counts. Right column: objects that nothing found. Bottom row: detections where there is no object, or one "
    "that was found already. An object goes to a detection of its own class first; detections inside crowd regions are "
    "left out. Good is a strong diagonal, and a faint last row and last column."
)
_MISTAKES = (
    "What each detection is (kinds of TIDE, Bolya et al. 2020): poorly placed has an IoU of 0.1 to 0.5 with its object,"
    " a duplicate finds what a stronger one has found, background overlaps nothing. Right: all classes together at IoU "
    "0.5; the upright line is the threshold with the best F1, which suits pictures and counting, never AP."
)


def curve_pictures(classes: Mapping[str, Any], boxes: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of the losses themselves, of what :mod:`retina.lab.collection` gives."""
    p_t = "p_t, probability of what is true"
    wanted = [
        ("focal", "Focal loss by γ", _FOCAL, classes["focal"], curve_plots.focal_figure),
        ("classification", "Every classification loss", _CLASSIFICATION, classes["classification"],
         curve_plots.classification_figure),
        ("focus", "The exponent that focuses", _FOCUS, classes["focus"], curve_plots.focus_figure),
        ("iou_aware", "Scores that learn the overlap", _IOU, classes["iou"],
         lambda curves: curve_plots.context_figure(curves, label="score of the anchor's class")),
        ("heat", "Background that fades in", _HEAT, classes["heat"],
         lambda curves: curve_plots.context_figure(curves, label=p_t)),
        ("density", "Gradient density", _DENSITY, classes["density"],
         lambda curves: curve_plots.context_figure(curves, label=p_t)),
        *((f"box_{kind}", f"Box losses: {kind}", _BOX[kind], boxes[kind], curve_plots.box_figure) for kind in _BOX),
    ]  # fmt: skip
    return [_picture(name, title, caption, values, draw) for name, title, caption, values, draw in wanted if values]


def finding_pictures(plain: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of a model on data, of what :meth:`retina.lab.findings.Findings.as_plain` gives."""
    plots = findings_plots
    wanted: Sequence[tuple[str, str, str, Callable[[Any], Figure]]] = (
        ("cumulative_loss", "Which anchors carry the loss", _CUMULATIVE, plots.cumulative_figure),
        ("hardest", "The hardest 1 %", _HARDEST, plots.hardest_figure),
        ("scores", "Scores of the anchors", _SCORES, plots.score_figure),
        ("positives", "Positive anchors", _POSITIVES, plots.positives_figure),
        ("gradient_shares", "Pull of the two losses", _GRADIENT, plots.gradient_figure),
        ("level_losses", "Loss by level", _LEVEL_LOSS, plots.level_loss_figure),
        ("confusion", "Confusion matrix", _CONFUSION, plots.confusion_figure),
        ("mistakes", "Kinds of mistakes", _MISTAKES, plots.mistakes_figure),
    )
    return [_picture(name, title, caption, plain, draw) for name, title, caption, draw in wanted]


def _picture(name: str, title: str, caption: str, values: Any, draw: Callable[[Any], Figure]) -> Picture:
    def styled_figure() -> Figure:
        with styled():
            return draw(values)

    return Picture(name, title, caption, styled_figure)
