"""Label tables against CSVs typed from the official sources, where a wrong order would show."""

import csv
from pathlib import Path

import pytest

from multiseg.datasets import all_readers, find_reader

TABLES = Path(__file__).parent / "label_ids"

#: Readers whose classes stand in the user's own file.
WITHOUT_TABLE = {"folder", "images", "panoptic", "packed", "packed_images", "packed_panoptic"}


@pytest.mark.parametrize("reader", sorted(set(all_readers()) - WITHOUT_TABLE))
def test_the_table_is_the_official_one(reader):
    with (TABLES / f"{reader.removesuffix('_swapped')}.csv").open() as file:
        rows = list(csv.DictReader(file))
    # one row for each raw id: rows of the same name are one class
    official: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], bool]] = {}
    for row in rows:
        if row["ignored"] == "0":
            _, raw_ids, *_ = official.get(row["name"], ("", ()))
            color = (int(row["r"]), int(row["g"]), int(row["b"]))
            official[row["name"]] = (row["name"], (*raw_ids, int(row["raw_id"])), color, row["thing"] == "1")
    space = find_reader(reader).label_space
    assert [(entry.name, entry.raw_ids, entry.color, entry.thing) for entry in space.classes] == list(official.values())
    assert sorted(space.ignore_ids) == sorted(int(row["raw_id"]) for row in rows if row["ignored"] == "1")


def test_every_table_belongs_to_a_reader():
    assert {path.stem for path in TABLES.glob("*.csv")} <= set(all_readers())
