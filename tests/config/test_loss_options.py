"""Every file of configs/loss: it keeps its word about splitting a batch, says so, and trains."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from retina.commands import assemble
from retina.commands.assemble import build_criterion
from retina.config.compose import CONFIGS, group_options
from retina.detection.criterion import Criterion
from retina.structures import AnchorTargets, BackgroundHeat, Batch, Predictions
from tests.jobs import job, parts_of

GROUPS = ("loss/classification", "loss/box")
FILES = [(f"{group}={option}",) for group in GROUPS for option in group_options()[group]]
# Settings that change whether a loss is a sum.
MORE = [
    ("loss/box=focal_eiou", "loss.box.normalise_weights=true"),
    ("loss/box=l1", "loss.focal_gamma=2.0"),
    ("loss/box=l1_eiou", "loss.focal_gamma=2.0"),
    ("loss/box=sum", "loss.box.terms.l1._target_=retina.detection.losses.running.GHMRLoss"),
    ("loss/classification=focal", "loss.classification.alpha=[0.1,0.2,0.3,0.4,0.5]"),
]
CHOICES = [pytest.param(choice, id=" ".join(choice)) for choice in (*FILES, *MORE)]
NORMALISES = "Normalises itself: the loss depends on how a batch is split."
IMAGES, ANCHORS, CLASSES = 4, 60, 5


@cache
def losses_of(choice: tuple[str, ...]) -> Any:
    settings, sections = job("train", "loss/classification=focal", "loss/box=l1", *choice)
    return sections["loss"], settings.loss.focal_gamma


def criterion_of(choice: tuple[str, ...]) -> Criterion:
    """The two losses that ``choice`` makes of the standard pair, focal loss and L1."""
    return build_criterion(*losses_of(choice))


def random_batch(num_outputs: int, seed: int = 0) -> tuple[Predictions, AnchorTargets]:
    """Four images in float64; the last has no objects."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    positive = torch.tensor([*range(3, 50, 7), *range(61, 119, 9), *range(122, 180, 5)])
    corner, size = normal(len(positive), 2) * 50, normal(len(positive), 2).abs() * 20 + 20
    anchors = torch.cat([corner, corner + size], dim=1)
    targets = AnchorTargets(
        positive_index=positive,
        positive_labels=torch.arange(len(positive)) % CLASSES,
        positive_boxes=anchors + normal(len(positive), 4) * 3,
        positive_anchors=anchors,
        ignored_index=torch.tensor([0, 5, 62, 121, 178, 200]),
        heat=BackgroundHeat(
            torch.tensor([4, 11, 71, 72, 128]), torch.tensor([0, 1, 2, 2, 4]), torch.tensor([0.9, 0.5, 0.7, 0.2, 0.8])
        ),
    )
    return Predictions(normal(IMAGES, ANCHORS, num_outputs), normal(IMAGES, ANCHORS, 4) * 0.3, [(6, 10)]), targets


def images_of(predictions: Predictions, targets: AnchorTargets, images: range) -> tuple[Predictions, AnchorTargets]:
    """The part of a batch that some of its images are."""
    first, end = images.start * ANCHORS, images.stop * ANCHORS

    def inside(index: Tensor) -> Tensor:
        return (index >= first) & (index < end)

    rows, ignored, near = (
        inside(i) for i in (targets.positive_index, targets.ignored_index, targets.heat.anchor_index)
    )
    heat = targets.heat
    part = AnchorTargets(
        targets.positive_index[rows] - first,
        targets.positive_labels[rows],
        targets.positive_boxes[rows],
        targets.positive_anchors[rows],
        targets.ignored_index[ignored] - first,
        BackgroundHeat(heat.anchor_index[near] - first, heat.labels[near], heat.heat[near]),
    )
    chosen = slice(images.start, images.stop)
    return replace(predictions, logits=predictions.logits[chosen], deltas=predictions.deltas[chosen]), part


def values_and_gradients(criterion: Criterion, predictions: Predictions, targets: AnchorTargets) -> list[Tensor]:
    """Both losses, and the gradients of the logits and of the deltas, image by image."""
    leaves = [predictions.logits.clone().requires_grad_(), predictions.deltas.clone().requires_grad_()]
    losses = criterion(replace(predictions, logits=leaves[0], deltas=leaves[1]), targets)
    torch.stack(list(losses.values())).sum().backward()
    return [torch.stack(list(losses.values())).detach(), *(leaf.grad for leaf in leaves)]


def joined(parts: list[list[Tensor]]) -> list[Tensor]:
    """What the whole batch gets of its parts: losses add up, each image has its gradients."""
    values, *gradients = zip(*parts, strict=True)
    return [torch.stack(values).sum(dim=0), *(torch.cat(rows) for rows in gradients)]


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference beside the largest number, of losses and gradients."""
    pairs = zip(found, expected, strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


class TwoRanks:
    """Runs a function of the rank twice at the same time; ``sum`` adds what both bring."""

    def __init__(self) -> None:
        self.barrier, self.brought = threading.Barrier(2, timeout=30), {}
        self.rank, self.num_sums = threading.local(), 0

    def run(self, function: Callable[[int], list[Tensor]]) -> list[list[Tensor]]:
        def as_rank(rank: int) -> list[Tensor]:
            self.rank.number = rank
            return function(rank)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(as_rank, range(2)))

    def sum(self, value: Tensor) -> Tensor:
        self.brought[self.rank.number] = value.detach().clone()
        self.barrier.wait()
        total = self.brought[0] + self.brought[1]
        self.barrier.wait()
        self.num_sums += self.rank.number == 0
        return total


def outputs_of(criterion: Criterion) -> int:
    return CLASSES + (criterion.classification.scores == "softmax")


def test_every_file_is_among_the_choices() -> None:
    files = [path for group in GROUPS for path in (CONFIGS / group).glob("*.yaml")]
    assert len(files) == len(FILES) >= 28
    not_additive = [" ".join(choice) for choice in (*FILES, *MORE) if not criterion_of(choice).additive]
    assert not_additive[:2] == ["loss/classification=focal_dice", "loss/classification=ghm_c"]
    assert not_additive[2:4] == ["loss/box=ghm_r", "loss/box=wiou_v3"]
    assert len(not_additive) == 8, "and four of MORE"


@pytest.mark.parametrize("choice", CHOICES)
def test_the_sum_over_micro_batches_is_the_whole_if_and_only_if_the_loss_is_additive(choice) -> None:
    criterion = criterion_of(choice)
    batch = random_batch(outputs_of(criterion))
    whole = values_and_gradients(deepcopy(criterion), *batch)
    parts = [values_and_gradients(criterion, *images_of(*batch, images)) for images in (range(1), range(1, 4))]
    apart = difference(joined(parts), whole)
    # Additive up to the last digits of float64; else more than float32 could have rounded.
    assert apart < 1e-12 if criterion.additive else apart > 1e-6


@pytest.mark.parametrize("split", [1, 3], ids=["objects on both", "objects on one"])
@pytest.mark.parametrize("choice", CHOICES)
def test_two_ranks_find_the_losses_and_gradients_of_one_with_all_images(choice, split, monkeypatch) -> None:
    alone = criterion_of(choice)
    batch = random_batch(outputs_of(alone))
    parts = [range(split), range(split, IMAGES)]
    ranks, criteria = TwoRanks(), [deepcopy(alone) for _ in range(2)]
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", lambda value: value)
    whole = values_and_gradients(alone, *batch)
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", ranks.sum)
    found = ranks.run(lambda rank: values_and_gradients(criteria[rank], *images_of(*batch, parts[rank])))
    assert difference(joined(found), whole) < 1e-12
    assert (ranks.num_sums == 0) is alone.additive, "only a loss that normalises itself asks the other ranks"
    for criterion in criteria:  # what is remembered is that of all ranks
        torch.testing.assert_close(criterion.state_dict(), alone.state_dict())


@pytest.mark.parametrize("choice", [pytest.param(choice, id=choice[0]) for choice in FILES])
def test_the_head_of_a_file_says_if_the_loss_is_no_sum(choice) -> None:
    group, option = choice[0].split("=")
    lines = (CONFIGS / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    head = " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
    assert (NORMALISES in head) is not criterion_of(choice).additive


# One step of a small network


@pytest.fixture(scope="module")
def networks(small) -> dict[tuple[str, bool], tuple[torch.nn.Module, Batch]]:
    """A network and a batch of the data set for each kind of scores and of targets."""
    made = {}
    for option in ("focal", "softmax_focal", "penalty_reduced_focal"):
        parts, _ = parts_of(*job("train", *small, f"loss/classification={option}"))
        made[kind_of(parts.criterion)] = parts.model, next(iter(parts.make_loader(0)))
    return made


def kind_of(criterion: Criterion) -> tuple[str, bool]:
    return criterion.classification.scores, criterion.classification.needs_heat


def numbers_of(model: torch.nn.Module) -> Iterator[Tensor]:
    return chain((parameter.grad for parameter in model.parameters()), model.parameters())


@pytest.mark.parametrize("choice", [pytest.param(choice, id=" ".join(choice)) for choice in (*FILES, *MORE[:4])])
def test_a_step_of_a_network_is_finite_and_moves_both_subnets(choice, networks) -> None:
    criterion = criterion_of(choice)
    model, batch = networks[kind_of(criterion)]
    before = [subnet.predict.weight.detach().clone() for subnet in (model.class_subnet, model.box_subnet)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    optimizer.zero_grad()
    losses = criterion(model(batch.images, batch.targets.box_cells), batch.targets)
    assert all(loss.item() > 0 for loss in losses.values())
    (sum(losses.values()) / batch.targets.num_positives).backward()
    optimizer.step()
    assert all(torch.isfinite(numbers).all() for numbers in numbers_of(model))
    assert not model.class_subnet.predict.weight.equal(before[0])
    assert not model.box_subnet.predict.weight.equal(before[1])


def test_the_documentation_has_every_file_and_says_whether_it_is_a_sum(root) -> None:
    text = (root / "docs/losses.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^#)", text, flags=re.MULTILINE | re.DOTALL))
    assert sections.keys() == {choice[0].split("=")[1] for choice in FILES}
    for choice in FILES:
        additive = criterion_of(choice).additive
        assert ("\nAdditive" in sections[choice[0].split("=")[1]]) is additive, choice
        assert ("\nNormalises itself. " in sections[choice[0].split("=")[1]]) is not additive, choice
