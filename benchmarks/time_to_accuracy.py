"""Seconds of training to 70, 80, 85, 90, 92 and 94 % validation accuracy: our recipes, and what a user would pick.

    python -m benchmarks.time_to_accuracy                   # on a CPU, half a day; --minutes 100 stops after a run
    python -m benchmarks.time_to_accuracy --minutes 9       # on a GPU; call it until it says that all is done
    python -m benchmarks.time_to_accuracy --smoke           # seconds

All train on the same images of `eva.data.load()` and are measured on the validation split after each epoch. Measuring,
loading and starting are not counted (on a GPU ours and airbench's runs each begin after a short one that is thrown
away); compiling is, for each seed anew.

On a CPU: our recipes `cpu` and `hour` beside the course's own style, which is what a first PyTorch tutorial does: SGD
0.01 with momentum 0.9 and no schedule, batches of 128, RandomCrop and RandomHorizontalFlip from torchvision in a
DataLoader with two workers, until it is seen at 90 %, or for `--give-up` minutes; and a ResNet-20 by the usual recipe.
These two with the first seed only. On a GPU: our recipes `gpu` and `best` beside that style, a ResNet-18 by the usual
recipe and the package airbench's train94 and train96 (benchmarks/anchors.py), all seeds. The test split is measured
once per run, at its end, without and with test-time augmentation (benchmarks/tta.py).

Writes results/time_to_accuracy.json (of a GPU: time_to_accuracy_gpu.json) and, from it, the .md beside it and the table
in README.md; with --table only the latter two, from the former as it is. A call goes on where the last one stopped:
finished runs are lines of FOLDER/time_to_accuracy.jsonl.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch._dynamo
import torch._inductor.config

from benchmarks import anchors
from benchmarks.common import RESULTS, ROOT, Deadline, Line, arguments, device_here, few, origin, spread
from benchmarks.tta import LEVELS
from eva.course.runs import Runs
from eva.data import Splits, load
from eva.files import replace_section, replacing
from eva.measure import count_parameters
from eva.model import Net
from eva.recipes import RECIPES, WIDTHS
from eva.training import fit

REPORT, GPU_REPORT = RESULTS / "time_to_accuracy.json", RESULTS / "time_to_accuracy_gpu.json"
README = ROOT / "README.md"
TARGETS = (0.70, 0.80, 0.85, 0.90, 0.92, 0.94)
COURSE = "the course's own"
GOALS = {"eva, recipe gpu": "airbench train94", "eva, recipe best": "airbench train96"}  # to be as accurate as


@dataclass(frozen=True)
class Style:
    """One way to train: `run` takes a seed; `settings` are what another run must share to be the same."""

    name: str
    run: Callable[[int], Line]
    seeds: Sequence[int]
    settings: Line = field(default_factory=dict)


def ours(splits: Splits, seed: int, device: torch.device, name: str) -> Line:
    recipe, width, classes = RECIPES[name], WIDTHS[name], len(splits.classes)
    if device.type == "cuda":
        short = replace(recipe, epochs=1, compiled=False)
        fit(Net(width, classes), few(splits, recipe.batch_size), short, device=device)
    torch._dynamo.reset()
    torch.manual_seed(seed)
    model = Net(width, classes)
    with torch._inductor.config.patch(force_disable_caches=True):
        rows = fit(model, splits, recipe, device=device, seed=seed).rows
    passed, seconds = [], 0.0
    for row in rows:
        seconds += row["seconds"]
        passed.append([round(seconds, 1), row["validation_accuracy"]])
    return anchors.measured(model, passed, splits, device)


def size(width: float, splits: Splits) -> int:
    """Parameters of Net at `width`: a Net that was changed makes its runs anew."""
    return count_parameters(Net(width=width, classes=len(splits.classes)))


def styles(splits: Splits, device: torch.device, asked: argparse.Namespace) -> tuple[list[Style], list[str]]:
    """What is to be run here, and what is not, with the reason."""
    seeds, on_gpu = range(asked.seeds), device.type == "cuda"
    names = ["smoke"] if asked.smoke else ["gpu", "best"] if on_gpu else ["cpu", "hour"]
    found = [
        Style(f"eva, recipe {name}", lambda seed, name=name: ours(splits, seed, device, name), seeds,
              {"recipe": {**asdict(RECIPES[name]), "width": WIDTHS[name]}, "parameters": size(WIDTHS[name], splits)})
        for name in names if name in RECIPES
    ]  # fmt: skip
    left_out = [f"eva, recipe {name}: there is no such recipe yet" for name in names if name not in RECIPES]
    course = {"width": WIDTHS[names[0]], "stop_at": max(TARGETS) if on_gpu else 0.90,
              "minutes": asked.give_up or (3 if on_gpu else 120)}  # fmt: skip
    found.append(Style(COURSE, lambda seed: anchors.courses_own(splits, seed, device, **course),
                       seeds if on_gpu else seeds[:1],
                       {**course, "parameters": size(course["width"], splits)}))  # fmt: skip
    usual = {"network": "ResNet-18" if on_gpu else "ResNet-20", "epochs": 1 if asked.smoke else asked.resnet_epochs}
    found.append(Style(f"{usual['network']}, usual recipe",
                       lambda seed: anchors.usual_recipe(splits, seed, device, **usual),
                       seeds if on_gpu else seeds[:1], usual))  # fmt: skip
    why_not = anchors.missing_airbench()
    for name in ("train94", "train96"):
        if why_not:
            left_out.append(f"airbench {name}: {why_not}")
        else:
            run = partial(anchors.airbench, splits, device=device, recipe=name)
            found.append(Style(f"airbench {name}", run, seeds))
    return found, left_out


def measure(chosen: list[Style], base: Line, runs: Runs, deadline: Deadline) -> tuple[list[Line], int]:
    """The finished runs in the order of the styles, and how many are missing. First seeds come first.

    No run is begun whose like took longer than what is left of the call.
    """
    done: dict[tuple[str, int], Line] = {}
    order = [(style, seed) for seed, style in product(range(max(len(x.seeds) for x in chosen)), chosen)]
    missing = 0
    for style, seed in order:
        if seed not in style.seeds:
            continue
        key = {"style": style.name, "seed": seed, **style.settings, **base}
        line = runs.find(key)
        took = max((run["took"] for (name, _), run in done.items() if name == style.name), default=0)
        if line is None and deadline.allows(1.1 * took):
            print(f"{style.name}, seed {seed}", flush=True)
            began = time.monotonic()
            measured = style.run(seed)
            line = runs.add(key, {**measured, "took": round(time.monotonic() - began, 1)})
        if line is None:
            missing += 1
        else:
            done[style.name, seed] = line
    places = {style.name: place for place, style in enumerate(chosen)}
    return [done[key] for key in sorted(done, key=lambda key: (places[key[0]], key[1]))], missing


def reported(line: Line) -> Line:
    """A finished run as the report keeps it."""
    kept = {name: line[name] for name in ("parameters", "passed", "given_up_after", "test") if name in line}
    return {"style": line["key"]["style"], "seed": line["key"]["seed"], **kept}


def seconds_to(target: float, run: Line) -> float | None:
    """Seconds of training after which `run` was first seen at `target`, or None."""
    return next((seconds for seconds, accuracy in run["passed"] if accuracy >= target), None)


def tested(run: Line) -> dict[str, float]:
    """Test accuracy at each level of test-time augmentation that was measured; early reports have the plain one."""
    return run.get("test") or ({"none": run["test_accuracy"]} if "test_accuracy" in run else {})


def table(report: Line) -> str:
    """The report as Markdown. Targets that no run reached, and levels that none was tested at, have no column."""
    runs = report["runs"]
    targets = [target for target in TARGETS if any(seconds_to(target, run) for run in runs)]
    levels = [level for level in LEVELS if level == "none" or any(level in tested(run) for run in runs)]
    sized = any("parameters" in run for run in runs)
    titles = ["style", *(["parameters"] if sized else []), "seed", *(f"to {100 * target:.0f} %" for target in targets),
              "seconds in all", "last validation accuracy",
              *("test accuracy" + ("" if level == "none" else f", {level}") for level in levels)]  # fmt: skip
    lines = [
        f"# Time to accuracy: {report['data']}",
        "",
        f"Seconds of training until the validation split ({report['validation']:,} images) was first seen at the "
        f"accuracy, measured after each epoch. {report['network'] + ', ' if 'network' in report else ''}"
        f"{report['hardware']}, PyTorch {report['torch']}, {report['date']}. "
        "Made by `benchmarks/time_to_accuracy.py`, which says how.",
        "",
        f"| {' | '.join(titles)} |",
        "|" + "---|" * len(titles),
    ]
    for run in runs:
        cells = [run["style"], *([f"{run['parameters']:,}" if "parameters" in run else "-"] if sized else [])]
        cells += [str(run["seed"]), *(_shown(seconds_to(target, run), run) for target in targets)]
        cells += [f"{run['passed'][-1][0]:.0f}", f"{run['passed'][-1][1]:.2%}"]
        cells += [f"{tested(run)[level]:.2%}" if level in tested(run) else "-" for level in levels]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "\n".join([*lines, "", *_means(report), *_ratios(report, targets), *_goals(report), *_left_out(report)]) + "\n"
    )


def _shown(seconds: float | None, run: Line) -> str:
    """Seconds to a target; where it was not reached, the seconds after which that is known."""
    last = run["passed"][-1][0]
    return _rounded(seconds) if seconds is not None else f"> {_rounded(last)}"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _by_style(report: Line) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for run in report["runs"]:
        groups.setdefault(run["style"], []).append(run)
    return groups


def _tests(runs: list[Line], level: str) -> list[float]:
    return [tested(run)[level] for run in runs if level in tested(run)]


def _means(report: Line) -> list[str]:
    """A line per style: its mean test accuracies."""
    lines = []
    for style, runs in _by_style(report).items():
        if _tests(runs, "none"):
            tests = [("" if level == "none" else f"{level} ") + spread(_tests(runs, level)) + " %"
                     for level in LEVELS if _tests(runs, level)]  # fmt: skip
            seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
            lines.append(f"- {style}: test accuracy of {seeds} {'; '.join(tests)}.")
    return lines


def _ratios(report: Line, targets: Sequence[float]) -> list[str]:
    """By how much ours was faster than each of the others, medians of seeds: the first style of ours that arrived."""
    groups, lines = _by_style(report), []
    others = [style for style in groups if not style.startswith("eva")]
    for target in targets:
        times = {style: [seconds_to(target, run) for run in groups[style]] for style in groups if style not in others}
        mine = next((style for style, found in times.items() if all(found)), None)
        if mine and others:
            median = statistics.median(times[mine])
            ratios = [f"{_ratio(target, median, groups[style])} as {style}" for style in others]
            lines.append(f"- To {100 * target:.0f} %, {mine}: {', '.join(ratios)} (medians of seeds).")
    return lines


def _ratio(target: float, mine: float, runs: list[Line]) -> str:
    """How many times `mine` seconds the median of `runs` took, at least so many where one never arrived."""
    reached = [seconds_to(target, run) for run in runs]
    known = statistics.median(seconds or run["passed"][-1][0] for seconds, run in zip(reached, runs, strict=True))
    return f"{'' if all(reached) else 'more than '}{known / mine:.1f} times as fast"


def _goals(report: Line) -> list[str]:
    """How our recipes compare in accuracy and size with the anchors that they are to match, level by level."""
    groups, lines = _by_style(report), []
    for style, anchor in GOALS.items():
        if style in groups and anchor in groups:
            gains = []
            for level in LEVELS:
                gain = statistics.mean(_tests(groups[style], level)) - statistics.mean(_tests(groups[anchor], level))
                gains.append(f"{100 * gain:+.2f} points ({'no augmentation' if level == 'none' else level})")
            share = groups[style][0]["parameters"] / groups[anchor][0]["parameters"]
            lines.append(f"- {style} less {anchor}: {', '.join(gains)}, with {share:.1%} of its parameters.")
    return lines


def _left_out(report: Line) -> list[str]:
    lines = [f"- Not run: {reason}." for reason in report.get("not_run", [])]
    return lines + ([f"- {report['missing']} runs are still to be made."] if report.get("missing") else [])


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], minutes=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--give-up", type=float, help="minutes of training for the course's style; 120, on a GPU 3")
    parser.add_argument("--resnet-epochs", type=int, default=30, help="of ResNet-18 on a GPU, of ResNet-20 on a CPU")
    asked = parser.parse_args(argv)
    if asked.table:
        for path in filter(Path.exists, (REPORT, GPU_REPORT)):
            write_tables(json.loads(path.read_text()), path)
        return
    device, splits = device_here(), load()
    path, folder = GPU_REPORT if device.type == "cuda" else REPORT, asked.folder
    if asked.smoke:
        splits, folder, asked.give_up = few(splits), folder / "smoke", 0.01
        path = folder / REPORT.name
    chosen, left_out = styles(splits, device, asked)
    runs = Runs(folder / f"{REPORT.stem}.jsonl", asked.fresh)
    base = {**origin(splits, device), "images": len(splits.train)}
    done, missing = measure(chosen, base, runs, Deadline(asked.minutes))
    if done:
        report = {**origin(splits, device), "validation": len(splits.validation),
                  "date": max(run["date"] for run in done), "runs": [reported(run) for run in done],
                  "not_run": left_out, "missing": missing}  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "w") as file:
            json.dump(report, file, indent=1)
        write_tables(report, path)
    print(f"{missing} runs are still to be made: call this again" if missing else "all runs are done")


def write_tables(report: Line, path: Path = REPORT) -> None:
    """Write what people read: the page beside `path`, and, of a report in results/, its table into README.md."""
    page = table(report)
    print(page)
    with replacing(path.with_suffix(".md"), "w") as file:
        file.write(page)
    section = {REPORT: "time-to-accuracy", GPU_REPORT: "time-to-accuracy-gpu"}.get(path)
    if section and f"<!--{section}-->" in README.read_text("utf-8"):
        replace_section(README, section, untitled(report))
    elif section:
        print(f"README.md has no lines <!--{section}--> and <!--/{section}-->: put them where this table belongs")


def untitled(report: Line) -> str:
    """The page without its title, as README.md has it."""
    return table(report).split("\n", 2)[2].strip()


if __name__ == "__main__":
    main()
