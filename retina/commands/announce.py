"""What a training run tells at its start and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from retina import distributed
from retina.commands.assemble import Sections, switch_epoch
from retina.data.dataset import DetectionDataset
from retina.data.findings import in_short
from retina.errors import first_five
from retina.evaluation.results import format_metrics
from retina.machine import Machine
from retina.settings import RunSettings
from retina.training.progress import RunLength
from retina.training.run_log import RunLog
from retina.training.schedules import describe_scaling
from retina.training.trainer import Parts, Trainer


def say_data(log: RunLog, datasets: Mapping[str, DetectionDataset], checked: Sequence[tuple[str, str]]) -> None:
    """Tell what the run learns from and is scored on; ``checked``: (split, sentence) of what the images show."""
    log.say(f"run       {log.run_dir}")
    for name, dataset in datasets.items():
        split = "" if dataset.split == name else f" ({dataset.split})"
        log.say(
            f"{name:<10}{len(dataset)} images, {dataset.num_objects} objects of {dataset.num_classes} classes, "
            f"{int(dataset.crowd.sum())} crowds{split}: {dataset.annotations.source}"
        )
        for line in in_short(dataset.findings):
            log.say(f"          {line}")
        for line in (sentence for split_name, sentence in checked if split_name == name):
            log.say(f"          {line}")


def say_length(
    log: RunLog, settings: RunSettings, sections: Sections, machine: Machine, parts: Parts, length: RunLength
) -> None:
    """Tell what is about to be trained and for how long, in the words of the settings."""
    for note in parts.notes:
        log.say(f"sampling  {note}")
    millions = sum(parameter.numel() for parameter in parts.model.parameters()) / 1e6
    model, optimizer = sections["model"], sections["optimizer"]
    log.say(
        f"model     {millions:.1f} M parameters, norm {model['norm']}, weights {model['weights']}, "
        f"{machine.precision} on {machine.device}, {distributed.world_size()} process(es)"
    )
    log.say(
        f"length    {length.num_steps} steps of {length.batch_size} images = {length.num_epochs:.4g} epochs; "
        + describe_scaling(optimizer["lr"], optimizer.get("lr_batch_size"), length.batch_size, length.num_images)
    )
    for note in parts.schedule.notes(run_images=length.num_images, images_per_epoch=length.images_per_epoch):
        log.say(f"          note: {note}")
    until = switch_epoch(settings.augment, length)
    if until is not None:
        log.say(f"augment   strong for {until} of {length.num_epochs:.4g} epochs, then augment.afterwards")
    if not parts.criterion.additive:
        log.say("          note: this loss normalises itself; its value depends on how a batch is split")


def say_end(log: RunLog, trainer: Trainer, run_dir: Path) -> None:
    """Tell the best numbers of the run and what can be done next."""
    progress = trainer.progress
    log.say("")
    best = trainer.best_metrics
    log.say(f"best of the run, at step {progress.best_step}:" if best else "the last evaluation:")
    log.say(format_metrics(best or trainer.metrics))
    if known := trainer.bad_images.known:
        log.say(f"\n{len(known)} training images could not be used, others stood in for them: {first_five(known)}")
    seconds = sum(trainer.phases.seconds().values())
    log.say(f"\n{progress.step} steps in {seconds / 60:.1f} minutes. What to do next:")
    log.say(f"  python tools/predict.py ckpt={run_dir} source=<image or folder> out=pictures")
    log.say(f"  python evaluate.py ckpt={run_dir}")
    log.say(f"  tensorboard --logdir {run_dir.parent}")
