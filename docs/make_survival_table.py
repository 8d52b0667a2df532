"""The table of docs/explanation/survival.md, from what pytest writes with --junitxml.

python docs/make_survival_table.py survival.xml [MORE.xml ...]
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).parent / "explanation" / "survival.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"

#: The tests, and the columns they fill; of those on many processes the number decides.
COLUMNS = {
    "test_killed_at_random_moments": "killed",
    "test_ended_by_the_cluster": "SIGTERM",
    "test_a_truncated_checkpoint": "checkpoint",
    "test_a_loss_that_is_no_number": "NaN",
    "test_a_full_disk": "disk full",
    "test_files_that_break_meanwhile": "file",
    "test_broken_files_are_skipped_if_wanted": "skip",
    "test_a_disk_that_hangs": "hang",
    "test_many_processes_train_and_judge_like_one-2": "2",
    "test_many_processes_train_and_judge_like_one-4": "4",
}


def cells(reports: Iterable[Path]) -> dict[tuple[str, str], str]:
    """Whether a test of a method passed, by method and column."""
    found = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            match = re.fullmatch(r"(\w+)\[(.+?)(-\d)?\]", case.attrib["name"])
            if match and (column := COLUMNS.get(match[1] + (match[3] or ""))):
                bad = [mark for mark in ("failure", "error", "skipped") if case.find(mark) is not None]
                found[match[2], column] = bad[0] if bad else "✓"
    return found


def table(found: dict[tuple[str, str], str]) -> str:
    methods = dict.fromkeys(method for method, _ in found)
    head = ["| method |", "| --- |"]
    for column in COLUMNS.values():
        head[0] += f" {column} |"
        head[1] += " :-: |"
    rows = [
        "| " + " | ".join([method, *(found.get((method, c), "") for c in COLUMNS.values())]) + " |"
        for method in methods
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(before + START + table(cells(map(Path, sys.argv[1:]))) + END + after, encoding="utf-8")
