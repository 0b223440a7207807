"""An evaluation as Markdown tables and as JSON records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crowdfm_core.evaluation.measures import CALIBRATION_BINS
from crowdfm_core.evaluation.published import PublishedTable
from crowdfm_core.evaluation.run import Evaluation, Problem
from crowdfm_core.evaluation.summary import common_datasets, has_scipy, summarise

__all__ = ["json_records", "markdown_report"]

_GAP = "-"


def markdown_report(evaluation: Evaluation, published: PublishedTable | None = None) -> str:
    """Tables of data sets, accuracies and summaries, with the published ones where given."""
    parts = [
        "## Data sets\n\n" + _datasets_table(evaluation),
        "## Accuracy, per cent\n\n" + _accuracy_table(evaluation, published),
        "## Summary\n\n" + _summary_table(evaluation, published),
    ]
    notes = [f"{d.name}: {note}" for d in evaluation.datasets for note in d.notes]
    if notes:
        parts.append("## Notes on the data sets\n\n" + _listed(notes))
    if evaluation.problems:
        parts.append("## Not measured\n\n" + _listed([_said(p) for p in evaluation.problems]))
    return "\n\n".join(parts) + "\n"


def json_records(
    evaluation: Evaluation, published: PublishedTable | None = None
) -> Iterator[dict[str, object]]:
    """One record per data set and method; accuracies in per cent, log loss in nats.

    What was not measured has accuracy null and says why in `problem`.
    """
    contenders = {contender.name: contender for contender in evaluation.contenders}
    datasets = {dataset.name: dataset for dataset in evaluation.datasets}
    for m in evaluation.measurements:
        row = published.row_of(contenders[m.method]) if published else None
        dataset = datasets[m.dataset]
        yield {
            "dataset": m.dataset,
            "method": m.method,
            "accuracy": 100 * m.accuracy,
            "num_seeds": m.num_seeds,
            "accuracy_range": 100 * m.accuracy_range,
            "calibration_error": m.calibration_error,
            "log_loss": m.log_loss,
            "seconds": m.seconds,
            "num_tasks": len(dataset.tasks),
            "num_workers": len(dataset.workers),
            "num_options": len(dataset.options),
            "num_annotations": len(dataset.task_index),
            "num_gold": len(dataset.gold_task),
            "published_accuracy": published.accuracy(row, m.dataset) if published and row else None,
        }
    for problem in evaluation.problems:
        methods = [problem.method] if problem.method else list(contenders)
        for method in methods:
            yield {
                "dataset": problem.dataset,
                "method": method,
                "accuracy": None,
                "problem": problem.message,
            }


def _datasets_table(evaluation: Evaluation) -> str:
    rows = [
        [
            d.name,
            *(
                f"{count:,}"
                for count in (
                    len(d.tasks),
                    len(d.workers),
                    len(d.options),
                    len(d.task_index),
                    len(d.gold_task),
                )
            ),
        ]
        for d in evaluation.datasets
    ]
    return _table(["data set", "tasks", "workers", "options", "annotations", "gold tasks"], rows)


def _accuracy_table(evaluation: Evaluation, published: PublishedTable | None) -> str:
    """One row per method, one column per data set, and the mean over what all methods have."""
    names = [dataset.name for dataset in evaluation.datasets]
    common = common_datasets(evaluation)
    means = {summary.method: summary.accuracy for summary in summarise(evaluation)}
    rows = []
    for contender in evaluation.contenders:
        measured = evaluation.of_method(contender.name)
        cells = [_percent(measured[n].accuracy) if n in measured else _GAP for n in names]
        mean = means.get(contender.name)
        rows.append([contender.name, *cells, _GAP if mean is None else _percent(mean)])
    if published:
        for row in published.accuracies:
            values = [published.accuracy(row, name) for name in names]
            if any(value is not None for value in values):
                values.append(published.mean(row, common))
                rows.append([f"published {row}", *map(_cell, values)])
    return _table(["method", *names, f"mean of {len(common)}"], rows)


def _summary_table(evaluation: Evaluation, published: PublishedTable | None) -> str:
    summaries = summarise(evaluation)
    if not summaries:
        return "No data set was measured by every method."
    common = common_datasets(evaluation)
    contenders = {contender.name: contender for contender in evaluation.contenders}
    rows = []
    for s in summaries:
        beside = []
        if published:
            row = published.row_of(contenders[s.method])
            mean = published.mean(row, common) if row else None
            gain = _GAP if mean is None else f"{100 * s.accuracy - mean:+.2f}"
            beside = [_cell(mean), gain]
        rows.append(
            [
                s.method,
                _percent(s.accuracy),
                *beside,
                str(s.wins),
                str(s.losses),
                _GAP if s.p_value is None else f"{s.p_value:.4f}",
                _percent(s.largest_range),
                f"{s.calibration_error:.3f}",
                f"{s.log_loss:.3f}",
                f"{s.seconds:.2f}",
            ]
        )
    titles = [
        "method",
        "accuracy",
        *(["published", "difference"] if published else []),
        "wins",
        "losses",
        "p",
        "range",
        "calibration error",
        "log loss",
        "seconds",
    ]
    lines = [
        _table(titles, rows),
        "",
        f"Means over the {len(common)} data sets that every method has. Wins and losses: data sets "
        "with a higher and a lower accuracy than majority voting. p: Wilcoxon's signed rank test, "
        "one-sided, that the method is better. Range: largest difference between two seeds on one "
        "data set, in points. Calibration error: expected, over "
        f"{CALIBRATION_BINS} equally wide bins of the label's probability. Log loss: nats, "
        "probabilities clipped at 1e-6. Seconds: all data sets, one seed, without reading.",
    ]
    if not has_scipy():
        lines += ["", "p needs scipy; install the project with its extra: .[evaluation]"]
    return "\n".join(lines)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(titles), "|---" + "|--:" * (len(titles) - 1) + "|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _said(problem: Problem) -> str:
    who = f"{problem.dataset}, {problem.method}" if problem.method else problem.dataset
    return f"{who}: {problem.message}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _cell(value: float | None) -> str:
    return _GAP if value is None else f"{value:.2f}"
