"""Relations in and out of a TSV, and remapping by them."""

from pathlib import Path

import numpy as np
import pytest

from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.taxonomy.relations import (
    Relation,
    other_datasets,
    read_relations,
    relations_by_name,
    remap_by_name,
    remap_by_relations,
    write_relations,
)


def space(name: str, *classes: str) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(classes)))


FINE = space("fine", "car", "bus", "sky")
COARSE = space("coarse", "Sky", "vehicle", "road")
FACTS = [
    Relation("fine", "car", "part of", "coarse", "vehicle"),
    Relation("coarse", "vehicle", "contains", "fine", "bus"),  # told from the other side
    Relation("fine", "sky", "same", "coarse", "Sky"),
]


def test_remap_by_name_ignores_what_has_no_partner() -> None:
    remapping = remap_by_name(FINE, COARSE)
    assert remapping(np.array([[0, 1, 2, IGNORE]], np.int16)).tolist() == [[IGNORE, IGNORE, 0, IGNORE]]
    assert remapping.unmapped == ("car", "bus")
    assert remapping.unreached == ("vehicle", "road")


def test_remap_by_relations_reads_both_directions() -> None:
    assert remap_by_relations(FINE, COARSE, FACTS).table == (1, 1, 0)


def test_a_part_cannot_be_told_from_the_whole() -> None:
    """coarse → fine: a vehicle may be a car or a bus, so it maps to neither."""
    assert remap_by_relations(COARSE, FINE, FACTS).table == (2, IGNORE, IGNORE)


def test_two_targets_are_refused() -> None:
    facts = [Relation("fine", "car", "same", "coarse", name) for name in ("vehicle", "road")]
    with pytest.raises(MultisegError, match="'fine/car' to both 'vehicle' and 'road'"):
        remap_by_relations(FINE, COARSE, facts)


def test_nothing_mapped_is_refused() -> None:
    with pytest.raises(MultisegError, match="no class of 'fine' maps"):
        remap_by_name(FINE, space("other", "tree"))


def test_relations_by_name() -> None:
    assert relations_by_name([FINE, COARSE]) == [Relation("fine", "sky", "same", "coarse", "Sky")]


def test_tsv_round_trip(tmp_path: Path) -> None:
    write_relations(tmp_path / "r.tsv", FACTS)
    assert read_relations(tmp_path / "r.tsv", [FINE, COARSE]) == FACTS


def test_relations_of_other_datasets_are_left_out(tmp_path: Path) -> None:
    write_relations(tmp_path / "r.tsv", [*FACTS, Relation("fine", "car", "same", "third", "auto")])
    assert read_relations(tmp_path / "r.tsv", [FINE, COARSE]) == FACTS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fine\tcarr\tsame\tcoarse\tSky", "line 2: dataset 'fine' has no class 'carr'; did you mean 'car'"),
        ("fine\tcar\tsmae\tcoarse\tSky", "line 2: no relation 'smae'; did you mean 'same'"),
        ("fine\tcar\tsame", "line 2: expected 5"),
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.tsv"
    path.write_text("from_dataset\tfrom_class\trelation\tto_dataset\tto_class\n" + line)
    with pytest.raises(MultisegError, match=message):
        read_relations(path, [FINE, COARSE])


def test_missing_file_and_wrong_header(tmp_path: Path) -> None:
    with pytest.raises(MultisegError, match="cannot read"):
        read_relations(tmp_path / "none.tsv")
    (tmp_path / "bad.tsv").write_text("a\tb\n")
    with pytest.raises(MultisegError, match="line 1: expected the tab-separated header"):
        read_relations(tmp_path / "bad.tsv")


HEADER = "from_dataset\tfrom_class\trelation\tto_dataset\tto_class"


def test_evidence_is_written_in_further_columns_and_ignored_when_read(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    write_relations(path, FACTS[:2], [{"share": 0.9, "images": 3}, {"share": 0.5, "images": 4}])
    assert path.read_text().splitlines()[:2] == [
        f"{HEADER}\tshare\timages",
        "fine\tcar\tpart of\tcoarse\tvehicle\t0.9\t3",
    ]
    assert read_relations(path, [FINE, COARSE]) == FACTS[:2]


def test_remarks_empty_lines_blanks_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    lines = ["# made by hand", "", HEADER, '# "vehicle" is an open quote', "fine \tcar\t part of\tcoarse\tvehicle"]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    assert read_relations(path, [FINE, COARSE]) == FACTS[:1]


def test_remarks_count_as_lines_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    path.write_text(f"# one\n\n{HEADER}\n# four\nfine\tcarr\tsame\tcoarse\tSky\n")
    with pytest.raises(MultisegError, match="line 5: dataset 'fine'"):
        read_relations(path, [FINE, COARSE])


@pytest.mark.parametrize("second", ["fine\tcar\tsame\tcoarse\tvehicle", "coarse\tvehicle\toverlaps\tfine\tcar"])
def test_contradicting_lines_are_refused(tmp_path: Path, second: str) -> None:
    path = tmp_path / "r.tsv"
    path.write_text(f"{HEADER}\nfine\tcar\tpart of\tcoarse\tvehicle\n{second}\n")
    with pytest.raises(MultisegError, match=r"line 3: .*, but line 2 says"):
        read_relations(path, [FINE, COARSE])


def test_the_same_fact_twice_is_no_contradiction(tmp_path: Path) -> None:
    write_relations(tmp_path / "r.tsv", [FACTS[0], FACTS[0].turned()])
    assert len(read_relations(tmp_path / "r.tsv", [FINE, COARSE])) == 2


def test_names_with_quotes_survive_the_round_trip(tmp_path: Path) -> None:
    odd = [Relation("a", '"big" car', "same", "b", 'a "car"'), Relation("a", "x, y", "same", "b", "#1")]
    write_relations(tmp_path / "r.tsv", odd)
    assert read_relations(tmp_path / "r.tsv") == odd


def test_no_relations_are_written_as_a_header(tmp_path: Path) -> None:
    write_relations(tmp_path / "new" / "r.tsv", [])
    assert (tmp_path / "new" / "r.tsv").read_text() == HEADER + "\n"
    assert read_relations(tmp_path / "new" / "r.tsv") == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.tsv"
    write_relations(path, FACTS)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(MultisegError, match=r"cannot write .*r.tsv: No space left"):
        write_relations(path, [])
    assert read_relations(path) == FACTS


def test_a_master_table_in_place_of_relations_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("fine\tuniversal\ncar\tcar\n")
    with pytest.raises(MultisegError, match="`multiseg taxonomy --by` makes relations of a master table"):
        read_relations(tmp_path / "m.tsv")


def test_datasets_that_are_not_here_are_listed_once() -> None:
    relations = [Relation("a", "x", "same", "b", "x"), Relation("c", "y", "part of", "a", "x")]
    assert other_datasets(relations, ["a", "b"]) == ["c"]
    assert other_datasets(relations, ["a", "b", "c", "d"]) == []
    assert other_datasets(relations, []) == ["a", "b", "c"]


def test_doubtful_relations_count_once_their_mark_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    write_relations(path, FACTS[:1], [{"share": 0.9}], [(FACTS[1], {"share": 0.2}), (FACTS[2], {"share": 0.1})])
    assert read_relations(path, [FINE, COARSE]) == FACTS[:1]
    lines = path.read_text().splitlines()
    assert lines[2].startswith("# Doubtful")
    assert lines[3].split("\t")[-1] == "0.2"
    path.write_text("\n".join([*lines[:3], lines[3].removeprefix("# "), lines[4]]))
    assert read_relations(path, [FINE, COARSE]) == FACTS[:2]
    write_relations(path, [], [], [(FACTS[1], {"share": 0.2})])  # the header names the evidence in any case
    assert path.read_text().splitlines()[0].endswith("to_class\tshare")
    assert read_relations(path) == []
