import csv
from collections import defaultdict
from pathlib import Path

import pytest

from multiseg.networks.text_encoder import spoken, synonyms_in

#: The official class names of every dataset.
TABLES = Path(__file__).parents[2] / "datasets" / "label_ids"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SignSymbol", "sign symbol"),
        ("traffic-light", "traffic light"),
        ("traffic_light", "traffic light"),
        ("Column_Pole", "column pole"),
        ("IDD far objects", "IDD far objects"),
        ("SUVPickupTruck", "SUV pickup truck"),
        ("TV", "TV"),
        ("construction--flat--road", "road"),
        ("human--rider--other-rider", "other rider"),
        ("Lane Marking - General", "lane marking general"),
        ("Traffic Sign (Back)", "traffic sign back"),
        ("food (fruit, other)", "food fruit"),
        ("wall-other-merged", "wall"),
        ("other", "other"),
        ("chest of drawers, chest, bureau", "chest of drawers"),
        ("door; double door", "door"),
        ("women's hat", "women's hat"),
        ("bike/motorcycle", "bike or motorcycle"),
        ("-", "-"),
    ],
)
def test_how_a_name_is_said(name, said):
    assert spoken(name) == said


def test_a_name_that_lists_names():
    assert synonyms_in("chest of drawers, chest, bureau, chest") == ("chest of drawers", "chest", "bureau")
    assert synonyms_in("SignSymbol") == ("sign symbol",)
    assert synonyms_in(" , ") == (",",)


@pytest.mark.parametrize("table", sorted(TABLES.glob("*.csv")), ids=lambda table: table.stem)
def test_classes_of_a_dataset_are_not_said_alike(table):
    with table.open(encoding="utf-8") as lines:
        names = {row["name"] for row in csv.DictReader(lines) if row["ignored"] == "0"}
    alike = defaultdict(set)
    for name in names:
        alike[spoken(name)].add(name)
    repeated = {said: names for said, names in alike.items() if len(names) > 1}
    if table.stem == "ade20k_full":  # its classes share synonyms: "seat" and "seat, place" are two
        assert len(repeated) < 0.1 * len(names)
    else:
        assert not repeated
