"""The training log as one CSV that grows with the run and survives its interruptions."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from multiseg.errors import MultisegError


class CsvLog(Logger):
    """`log.csv`: one row a step at which something was logged, one column a quantity.

    Lightning's own CSV logger starts anew in a folder that already has a log; this one keeps the rows before the step
    from which a run is resumed, so that the file of an interrupted run equals that of an uninterrupted one.

    Args:
        path: of the file.
        steps: of the run.
    """

    def __init__(self, path: Path, steps: int) -> None:
        super().__init__()
        self.path = path
        self.steps = steps
        self.columns: list[str] = ["step"]
        self.rows: list[dict[str, str]] = []
        self._written = 0

    @property
    def name(self) -> str:
        return "log"

    @property
    def version(self) -> str:
        return ""

    def resume(self, step: int) -> None:
        """Take over an earlier file's rows up to a step, later ones are trained again."""
        if self.path.is_file():
            self.columns, rows = read_log(self.path)
            self.rows = [row for row in rows if int(row["step"]) <= step]
        self._written = 0

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add to the row of a step. `step` counts updates before this one, as Lightning does; the file counts those
        done.
        """
        done = str(min((step or 0) + 1, self.steps))  # what follows the last step is logged at "step N"
        values = {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}
        if not self.rows or self.rows[-1]["step"] != done:
            self.rows.append({"step": done})
        elif self._written == len(self.rows):
            self._written = 0  # a written row grows: write all again
        self.rows[-1].update(values)
        for name in values:
            if name not in self.columns:
                self.columns.append(name)
                self._written = 0

    @rank_zero_only
    def save(self) -> None:
        """Append new rows; write everything, beside the file and then in its place, where columns or old rows
        changed.
        """
        target = self.path if self._written else self.path.with_name(self.path.name + ".partial")
        with target.open("a" if self._written else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            if not self._written:
                writer.writeheader()
            writer.writerows(self.rows[self._written :])
        if not self._written:
            os.replace(target, self.path)
        self._written = len(self.rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def read_log(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a log; a row that was cut short by a crash is left out.

    Raises:
        MultisegError: it is no log.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if None not in row.values() and (row.get("step") or "").isdecimal()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MultisegError(f"{path} is no log of a run: {error}.") from None
    return list(reader.fieldnames or ["step"]), rows
