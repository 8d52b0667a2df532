"""`multiseg datasets check`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from multiseg.commands.opening import open_splits
from multiseg.console import progress_bar, results
from multiseg.datasets import SegmentationDataset
from multiseg.inspection.checking import SEVERITIES, CheckReport, check_dataset, compare_splits, samples_to_check


def check_datasets(
    arguments: Sequence[str],
    splits: Sequence[str] | None,
    limit: int | None,
    workers: int | None,
    strict: bool,
    as_json: bool,
) -> int:
    """`multiseg datasets check`: the splits of every dataset, one by one and against one another.

    Returns:
        1 where there are errors or, if strict, warnings.
    """
    broken: list[CheckReport] = []
    checked: list[tuple[SegmentationDataset, CheckReport]] = []
    for part in open_splits(arguments, splits):
        if isinstance(part, CheckReport):
            broken.append(part)
            continue
        headers, _ = samples_to_check(len(part), limit)
        with progress_bar(f"{part.name} {part.split}", len(headers)) as advance:
            checked.append((part, check_dataset(part, workers, lambda done, _total: advance(done), limit)))
    reports = [*broken, *compare_splits(checked)]
    if as_json:
        print(json.dumps([report.to_json() for report in reports], ensure_ascii=False))
    else:
        for report in reports:
            results.print(str(report), markup=False, soft_wrap=True)
        results.print(_verdict(reports), markup=False)
    return 1 if any(not report.ok or (strict and report.warnings) for report in reports) else 0


def _verdict(reports: Sequence[CheckReport]) -> str:
    kinds = {severity: sum(len(report.of_severity(severity)) for report in reports) for severity in SEVERITIES}
    found = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in kinds.items() if count]
    return f"{len(reports)} split{'s' * (len(reports) != 1)} checked: {', '.join(found) or 'nothing found'}."
