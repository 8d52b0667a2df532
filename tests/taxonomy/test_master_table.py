"""Master tables: what follows from their cells, which column is whose, and that nothing is lost in writing one."""

import os
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.taxonomy.master_table import (
    Match,
    is_master_table,
    match_columns,
    read_master_table,
    relations_of_table,
    write_master_table,
)
from multiseg.taxonomy.relations import Relation


def space(name: str, *classes: str) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(classes)))


def write(path: Path, *rows: str) -> Path:
    """Rows with `|` between their cells."""
    path.write_text("".join("\t".join(cell.strip() for cell in row.split("|")) + "\n" for row in rows))
    return path


def derived(path: Path, *spaces: LabelSpace) -> set[str]:
    table = read_master_table(path)
    matches = match_columns(table, spaces, {}, {})
    return {f"{r.from_class} {r.relation} {r.to_class}" for r in relations_of_table(table, spaces, matches)}


def test_classes_with_the_same_rows_are_the_same_and_with_fewer_a_part(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.tsv",
        "group  | fine | coarse  | odd   | universal",
        "moving | car  | vehicle | wheel | car      ",
        "moving | bus  | vehicle |       | bus      ",
        "       | sky  | sky     |       | sky      ",
        "       | sea  |         | wheel | sea      ",
    )
    spaces = [space("fine", "car", "bus", "sky", "sea"), space("coarse", "vehicle", "sky"), space("odd", "wheel")]
    assert derived(path, *spaces) == {
        *("car part of vehicle", "bus part of vehicle", "sky same sky"),
        *("car part of wheel", "sea part of wheel", "vehicle overlaps wheel"),
    }
    assert "vehicle contains car" in derived(path, spaces[1], spaces[0])


def test_classes_in_braces_are_parts_of_the_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.tsv",
        "fine               | other | third          | universal",
        "{road, bike  lane} | road  | {track,bridge} | road     ",
        "{stop sign}        | sign  |                | sign     ",
    )
    fine, other = space("fine", "road", "bike  lane", "stop sign"), space("other", "road", "sign")
    assert derived(path, fine, other) == {"road part of road", "bike  lane part of road", "stop sign part of sign"}
    third = space("third", "track", "bridge")
    assert derived(path, fine, third) == {
        f"{a} overlaps {b}" for a in ("road", "bike  lane") for b in ("track", "bridge")
    }
    assert derived(path, other, third) == {"road contains track", "road contains bridge"}


def test_nothing_follows_from_the_row_unlabeled_but_its_classes_are_known(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.tsv",
        "one | two | universal",
        "a | a | a",
        "{ego, static} | ego | unlabeled",
        "| static | unlabel",
    )
    spaces = [space("one", "a", "ego", "static"), space("two", "a", "ego", "static")]
    assert derived(path, *spaces) == {"a same a"}
    assert match_columns(read_master_table(path), spaces, {}, {})["one"].missing == ()


def test_names_are_matched_without_punctuation_and_case_and_the_others_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tsv", "one | universal", "Traffic_Sign (Front) | a", "diningtable | b", "sky | c")
    spaces = [space("one", "traffic sign - front", "Dining Table", "pavement")]
    assert match_columns(read_master_table(path), spaces, {}, {}) == {"one": Match("one", ("pavement",))}


TABLE = (
    "Parent | camvid-11 | cityscapes-34 | cityscapes-19 | city-x | voc2012 | universal",
    "       | Road      | road          | road          | street |         | road     ",
    "       | Sky       | sky           | sky           | sky    |         | sky      ",
    "       |           | parking       |               |        | chair   | chair    ",
)


@pytest.mark.parametrize(
    ("name", "classes", "column"),
    [
        ("camvid", ("Road", "Sky"), "camvid-11"),
        ("voc", ("chair",), "voc2012"),
        ("cityscapes", ("road", "sky"), "cityscapes-19"),  # knows both, and nothing else
        ("cityscapes", ("road", "sky", "parking"), "cityscapes-34"),  # knows most
        ("cityscapes", ("a", "b", "c", "road"), None),  # none knows half
        ("vo", ("chair",), None),  # too short to tell
        ("parents", ("moving",), None),
        ("street", ("road", "sky"), None),
    ],
)
def test_a_dataset_finds_its_column(tmp_path: Path, name: str, classes: tuple[str, ...], column: str | None) -> None:
    table = read_master_table(write(tmp_path / "m.tsv", *TABLE))
    matches = match_columns(table, [space(name, *classes)], {}, {})
    assert matches.get(name, Match("", ())).column == (column or "")


def test_the_reader_finds_the_column_of_a_dataset_with_another_name(tmp_path: Path) -> None:
    table = read_master_table(write(tmp_path / "m.tsv", *TABLE))
    matches = match_columns(table, [space("street", "road", "sky")], {}, {"street": "cityscapes"})
    assert matches["street"].column == "cityscapes-19"


def test_a_column_can_be_chosen_by_hand(tmp_path: Path) -> None:
    table = read_master_table(write(tmp_path / "m.tsv", *TABLE))
    spaces = [space("mine", "street", "road")]
    assert match_columns(table, spaces, {"mine": "city-x"}, {})["mine"] == Match("city-x", ("road",))
    with pytest.raises(MultisegError, match="no dataset 'mien'; did you mean 'mine'"):
        match_columns(table, spaces, {"mien": "city-x"}, {})
    with pytest.raises(MultisegError, match="no column 'city-y'; did you mean 'city-x'"):
        match_columns(table, spaces, {"mine": "city-y"}, {})


def test_only_a_file_with_a_column_universal_is_a_master_table(tmp_path: Path) -> None:
    assert is_master_table(write(tmp_path / "m.tsv", *TABLE))
    other = write(tmp_path / "r.tsv", "from_dataset | from_class | relation | to_dataset | to_class")
    assert not is_master_table(other)
    with pytest.raises(MultisegError, match="no master table: it has no column 'universal'"):
        read_master_table(other)
    with pytest.raises(MultisegError, match="cannot read"):
        is_master_table(tmp_path / "none.tsv")


def test_a_row_that_is_too_long_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tsv", "one | universal", "a | a", "b | b | c")
    with pytest.raises(MultisegError, match="line 3: 3 cells, but the header has 2"):
        read_master_table(path)


SPACES = [space("one", "a1", "a2", "a3"), space("two", "b1", "b2", "b3"), space("three", "c1", "c2")]


def closed(path: Path) -> set[Relation]:
    """What a written table says, from both sides."""
    table = read_master_table(path)
    relations = relations_of_table(table, SPACES, match_columns(table, SPACES, {}, {}))
    return {fact for relation in relations for fact in (relation, relation.turned())}


def test_a_written_table_says_what_the_relations_say(tmp_path: Path) -> None:
    relations = [
        Relation("one", "a1", "same", "two", "b1"),
        Relation("two", "b2", "contains", "one", "a2"),
        Relation("two", "b2", "overlaps", "one", "a3"),
        Relation("three", "c1", "contains", "two", "b2"),
    ]
    path = tmp_path / "m.tsv"
    write_master_table(path, SPACES, relations)
    follows = {
        Relation("three", "c1", "contains", "one", "a2"),
        Relation("three", "c1", "overlaps", "one", "a3"),
    }
    assert closed(path) == {fact for r in {*relations, *follows} for fact in (r, r.turned())}


def test_names_that_hold_separators_find_their_way_back(tmp_path: Path) -> None:
    spaces = [space("one", "door, double door", "{odd}"), space("two", "door", "odd\ttab")]
    relations = [Relation("one", "door, double door", "contains", "two", "door")]
    assert write_master_table(tmp_path / "m.tsv", spaces, relations) == 4
    matches = match_columns(read_master_table(tmp_path / "m.tsv"), spaces, {}, {})
    assert all(match.missing == () for match in matches.values())
    assert derived(tmp_path / "m.tsv", *spaces) == {"door, double door contains door"}


ENDS = [(a, x, b, y) for a, b in permutations(SPACES, 2) for x in a.names for y in b.names]
FACTS = st.builds(
    lambda end, kind: Relation(end[0].name, end[1], kind, end[2].name, end[3]),
    st.sampled_from(ENDS),
    st.sampled_from(["same", "part of", "contains", "overlaps"]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(FACTS, max_size=8))
def test_reading_what_was_written_gives_the_same_relations(
    tmp_path_factory: pytest.TempPathFactory, relations: list[Relation]
) -> None:
    folder = tmp_path_factory.mktemp("master")
    try:
        write_master_table(folder / "1.tsv", SPACES, relations)
    except MultisegError:  # they contradict each other
        return
    once = closed(folder / "1.tsv")
    assert {(r.from_class, r.to_class) for r in relations} <= {(r.from_class, r.to_class) for r in once}
    write_master_table(folder / "2.tsv", SPACES, sorted(once, key=str))
    assert closed(folder / "2.tsv") == once


@pytest.mark.real_data
@pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets")
def test_the_table_of_mseg_relates_what_it_relates(tmp_path: Path) -> None:
    folder = Path(os.environ["MULTISEG_DATA"]) / "taxonomies"
    found = sorted(folder.rglob("MSeg_master.tsv"))
    if not found:
        pytest.skip(f"{folder} has no MSeg_master.tsv")
    table = read_master_table(found[0])
    spaces = [find_reader(name).label_space for name in ("voc", "coco_panoptic", "cityscapes", "camvid")]
    matches = match_columns(table, spaces, {}, {})
    columns = {"voc": "voc2012", "coco_panoptic": "coco-panoptic-133"}
    columns |= {"cityscapes": "cityscapes-19", "camvid": "camvid-11"}
    assert {name: match.column for name, match in matches.items()} == columns
    assert {name for name, match in matches.items() if not match.missing} == {"voc", "coco_panoptic", "cityscapes"}
    relations = relations_of_table(table, spaces, matches)
    assert Relation("voc", "sofa", "same", "coco_panoptic", "couch") in relations
    assert Relation("voc", "person", "contains", "cityscapes", "rider") in relations
    assert Relation("cityscapes", "bicycle", "part of", "camvid", "Bicyclist") in relations
    write_master_table(tmp_path / "m.tsv", spaces, relations)
    again = read_master_table(tmp_path / "m.tsv")
    assert relations_of_table(again, spaces, match_columns(again, spaces, {}, {})) == relations
