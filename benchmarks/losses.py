"""AP of the shapes recipe with every loss, one at a time: the same few hundred steps, three seeds each.

    python benchmarks/losses.py --save              # about two hours of one core; goes on where it was stopped
    python benchmarks/losses.py --only giou,ghm_c   # some of them

Each box loss stands beside the recipe's focal loss, each classification loss beside the recipe's EIoU, with the weights
of its own file: nothing is tuned. Runs are deterministic, one thread each, so two at a time cost no accuracy
(``--jobs 2``); their seconds say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from retina.benchmark.measure import report  # noqa: E402

SEEDS = (0, 1, 2)
# 192 instead of 256 pixels, a quarter of the recipe's steps: half the time a step.
SETTINGS = ("image.short_side=192", "image.long_side=192", "train.max_steps=300", "eval.every=0", "checkpoint.every=0",
            "eval.num_pictures=0", "train.workers=0", "log.every=100")  # fmt: skip
BASELINE = "focal + eiou"
FOCAL_WEIGHTED = {"l1 weighed": "l1", "l1_eiou weighed": "l1_eiou"}  # weighed by the focal factor of the class score


def losses() -> dict[str, list[str]]:
    """Return the overrides of every row of the table; the recipe's own pair first."""
    rows = {BASELINE: ["loss/classification=focal", "loss/box=eiou"]}
    for path in sorted((ROOT / "configs/loss/classification").glob("*.yaml")):
        rows.setdefault(f"{path.stem} + eiou", [f"loss/classification={path.stem}", "loss/box=eiou"])
    for path in sorted((ROOT / "configs/loss/box").glob("*.yaml")):
        if path.stem != "sum":  # l1_eiou is a sum; the other would be one more choice of weights
            rows.setdefault(f"focal + {path.stem}", ["loss/classification=focal", f"loss/box={path.stem}"])
    for name, box in FOCAL_WEIGHTED.items():
        rows[f"focal + {name}"] = ["loss/classification=focal", f"loss/box={box}", "loss.box.focal_gamma=2.0"]
    return rows


def run(folder: Path, overrides: Sequence[str], seed: int) -> dict[str, float] | None:
    """Train once, unless that was done before, and return the metrics; None where the run failed."""
    metrics = folder / "eval/val/metrics.json"
    if not metrics.exists():
        command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, *overrides, f"train.seed={seed}",
                   f"run_dir={folder}"]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        print(f"{folder.name}: exit {done.returncode} {done.stderr.strip()[-500:]}", flush=True)
        if done.returncode:
            return None
        for file in (folder / "checkpoints").glob("*"):  # 90 MB each
            file.unlink()
    return json.loads(metrics.read_text(encoding="utf-8"))


def table(results: Mapping[str, Sequence[Mapping[str, float] | None]]) -> list[dict[str, object]]:
    """Return a row a loss, best first within the class and the box losses."""
    of_baseline = [result["AP"] for result in results[BASELINE] if result is not None]
    rows = []
    for name, outcomes in results.items():
        done = [outcome for outcome in outcomes if outcome is not None]
        if not done:
            rows.append({"classification + box": name, "AP": "failed"})
            continue
        scores = [100 * outcome["AP"] for outcome in done]
        rows.append(
            {
                "classification + box": name,
                "AP": f"{mean(scores):.1f}",
                "AP of the seeds": " ".join(f"{score:.1f}" for score in scores),
                "AP50": f"{100 * mean(outcome['AP50'] for outcome in done):.1f}",
                "AP75": f"{100 * mean(outcome['AP75'] for outcome in done):.1f}",
                "beside the recipe": _verdict(scores, [100 * score for score in of_baseline]),
            }
        )
    return sorted(rows, key=lambda row: (not str(row["classification + box"]).startswith("focal +"),
                                         -float(str(row["AP"]).replace("failed", "-1"))))  # fmt: skip


def _verdict(scores: Sequence[float], baseline: Sequence[float]) -> str:
    """Say the difference of the means, and none where the seeds of the two overlap."""
    if scores == list(baseline):
        return "-"
    apart = min(scores) > max(baseline) or max(scores) < min(baseline)
    return f"{mean(scores) - mean(baseline):+.1f}" if apart else "none"


def main() -> None:
    """Train all rows seed by seed, so that a run cut short still compares everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/losses"), help="where the runs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--only", default="", help="names of losses, separated by commas")
    parser.add_argument("--save", action="store_true", help="write benchmarks/<date>-losses.*")
    options = parser.parse_args()
    rows = losses()
    if wanted := {name for name in options.only.split(",") if name}:
        rows = {name: value for name, value in rows.items() if name == BASELINE or wanted & set(name.split())}
    work = [(name, seed) for seed in SEEDS for name in rows]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = pool.map(
            lambda item: run(options.folder / f"{item[0].replace(' + ', '-').replace(' ', '_')}-{item[1]}",
                             rows[item[0]], item[1]),
            work,
        )  # fmt: skip
        results: dict[str, list[dict[str, float] | None]] = {name: [] for name in rows}
        for (name, _), result in zip(work, found, strict=True):
            results[name].append(result)
    report(
        "losses",
        table(results),
        notes=[
            "300 steps of 4 images of the embedded shapes at 192 px (the recipe takes 1,200 steps at 256), seeds "
            + ", ".join(map(str, SEEDS)) + "; averaged weights, 200 validation images",
            "beside the recipe: difference of the means, or none where the ranges of the seeds overlap",
            "weighed: with loss.box.focal_gamma=2",
            "default weights of configs/loss/; a longer run or other data may order them otherwise",
        ],
        save=options.save,
    )  # fmt: skip


if __name__ == "__main__":
    main()
