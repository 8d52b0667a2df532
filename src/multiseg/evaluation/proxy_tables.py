"""What a report says of training that only prepares a network, judged on held-out images by measures of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from multiseg.evaluation.page_pieces import decimal, paragraphs, run_chart, run_charts, run_chip
from multiseg.evaluation.run_summary import RunSummary

Entry = Mapping[str, float]


@dataclass(frozen=True)
class _Task:
    """What is known of a kind of proxy task.

    Args:
        judged_by: the score that tells it from others, and whose curve is drawn.
        title: heading.
        lead: what the figures say.
        columns: heading and cell, from the scores of a dataset.
        baseline: what one that learnt nothing is as good as.
        learnt: whether it is better than that.
    """

    judged_by: str
    title: str
    lead: str
    columns: Mapping[str, Callable[[Entry], str]]
    baseline: str
    learnt: Callable[[Entry], bool]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else math.nan  # images without colour leave nothing to gain


_TASKS = (
    _Task(
        "accuracy",
        "Jigsaw puzzles",
        "Share of the puzzles of held-out images whose permutation was told, one puzzle an image. By chance it is one "
        "over the number of permutations.",
        {
            "solved, %": lambda entry: decimal(100 * entry["accuracy"]),
            "by chance, %": lambda entry: decimal(100 * entry["chance"], 2),
            "times chance": lambda entry: decimal(_percent(entry["accuracy"], entry["chance"]) / 100),
        },
        "chance",
        lambda entry: entry["accuracy"] > entry["chance"],
    ),
    _Task(
        "gain",
        "Colours",
        "Loss in nats on held-out images, and what it gains on the best constant answer, the mean histograms of all of "
        "them: only what is gained was learnt from the pictures.",
        {
            "loss": lambda entry: decimal(entry["loss"], 3),
            "best constant answer": lambda entry: decimal(entry["constant"], 3),
            "gain": lambda entry: decimal(entry["gain"], 3),
            "gain, % of it": lambda entry: decimal(_percent(entry["gain"], entry["constant"])),
        },
        "the best constant answer",
        lambda entry: entry["gain"] > 0,
    ),
)
_TUNING = _Task(
    "ordered",
    "Triplets of held-out patches",
    "The share of triplets whose positive is nearer than the negative, half of them by chance; and how much nearer it "
    "is on average, in the distance by which they are ranked, of 0 to 4.",
    {
        "ordered, %": lambda entry: decimal(100 * entry["ordered"]),
        "apart": lambda entry: decimal(entry["apart"], 3),
    },
    "chance",
    lambda entry: entry["ordered"] > 0.5,
)
_NEEDED = {
    "accuracy": {"accuracy", "chance"},
    "gain": {"loss", "constant", "gain"},
    "ordered": {"ordered", "apart"},
}


def proxies_section(runs: Sequence[RunSummary]) -> str:
    """Tables of the scores of proxy tasks, a row a run and dataset, and curves.

    Args:
        runs: coloured, in the order of the page; those that are no proxy tasks are left out.

    Returns:
        nothing where no run is one.
    """
    left = [run for run in runs if run.proxy and not _is_of(run, _TUNING)]
    out = []
    for task in _TASKS:
        own = [run for run in left if _is_of(run, task)]
        left = [run for run in left if run not in own]
        out.append(_known(task, own) if own else "")
    return "".join(out) + (_others(left) if left else "")


def triplets_table(runs: Sequence[RunSummary]) -> str:
    """The same of mix-and-match tuning, for its own section."""
    own = [run for run in runs if run.proxy and _is_of(run, _TUNING)]
    return _known(_TUNING, own, with_loss=False) if own else ""


def _is_of(run: RunSummary, task: _Task) -> bool:
    return all(_NEEDED[task.judged_by] <= entry.keys() for entry in run.proxy.values())


def _known(task: _Task, runs: Sequence[RunSummary], with_loss: bool = True) -> str:
    lazy = [
        f"{run.name} on {dataset}"
        for run in runs
        for dataset, entry in run.proxy.items()
        if not task.learnt(entry)  # nor is one that diverged
    ]
    note = paragraphs([f"No better than {task.baseline}: {', '.join(lazy)}."]) if lazy else ""
    return (
        f'<h3>{task.title}</h3><p class="muted small">{task.lead}</p>'
        f"{_table(runs, task.columns)}{note}{_curves(runs, [task.judged_by], with_loss)}"
    )


def _others(runs: Sequence[RunSummary]) -> str:
    """Of tasks that are not multiseg's own the scores as they are."""
    keys = list(dict.fromkeys(key for run in runs for entry in run.proxy.values() for key in entry))

    def cell_of(key: str) -> Callable[[Entry], str]:
        return lambda entry: decimal(entry[key], 3) if key in entry else "–"

    table = _table(runs, {key: cell_of(key) for key in keys})
    return f"<h3>Other proxy tasks</h3>{table}{_curves(runs, keys)}"


def _table(runs: Sequence[RunSummary], columns: Mapping[str, Callable[[Entry], str]]) -> str:
    body = []
    for run in runs:
        for dataset, entry in run.proxy.items():
            facts = f'<td class="method">{escape(run.method)}</td><td class="text">{escape(dataset)}</td>'
            cells = "".join(f"<td>{cell(entry).replace('-', '−')}</td>" for cell in columns.values())
            body.append(f"<tr><th>{run_chip(run)}</th>{facts}{cells}</tr>")
    head = "".join(f"<th>{escape(heading)}</th>" for heading in columns)
    return (
        '<div class="scroll"><table><thead><tr><th>run</th><th class="method">method</th><th class="text">dataset</th>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _curves(runs: Sequence[RunSummary], keys: Sequence[str], with_loss: bool = True) -> str:
    """The loss in training, and the scores of held-out images by dataset."""
    datasets = list(dict.fromkeys(name for run in runs for name in run.proxy))
    columns = {"loss": "loss in training"} if with_loss else {}
    columns |= {f"val/{name}/{key}": f"{name}: {key} on held-out images" for name in datasets for key in keys}
    charts = [run_chart(runs, column, title, from_zero=True) for column, title in columns.items()]
    return run_charts(runs, "".join(charts), list(columns))
