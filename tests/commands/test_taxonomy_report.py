"""`multiseg taxonomy` by names, by a TSV and by a master table."""

import json
from pathlib import Path
from typing import Any

import pytest

from multiseg.cli import main
from multiseg.taxonomy.relations import COLUMNS

HEADER = "\t".join(COLUMNS)


def write_dataset(root: Path, classes: list[str], things: tuple[str, ...] = ()) -> str:
    """A dataset of one picture a split; returns NAME=ROOT."""
    from PIL import Image

    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
            Image.new("RGB" if kind == "images" else "L", (32, 32)).save(root / kind / split / "0.png")
    entries = [{"name": name, "id": number, "thing": name in things} for number, name in enumerate(classes)]
    splits = {split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in ("train", "val")}
    (root / "dataset.yaml").write_text(json.dumps({"name": root.name, "classes": entries, "splits": splits}))
    return f"{root.name}={root}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("taxonomy")
    return [
        write_dataset(folder / "city", ["Road", "person", "cars", "light", "sky"], ("person", "cars", "light")),
        write_dataset(folder / "park", ["road", "person", "car", "light", "tree"], ("person", "car")),
        write_dataset(folder / "lake", ["Sky", "water", "tree-other"]),
    ]


def call(*arguments: object) -> int:
    return main(["taxonomy", *(str(argument) for argument in arguments)])


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, list[str]]:
    """The lines of each section, by its heading without the number."""
    assert call(*arguments) == 0
    sections: dict[str, list[str]] = {"": []}
    heading = ""
    for line in capsys.readouterr().out.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            heading = line.rstrip(":").split(" (")[0]
            sections[heading] = []
        elif line.strip():
            sections[heading].append(" ".join(line.split()))
    return sections


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert call(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_by_name(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sections = shown(capsys, *data)
    assert sections[""] == ["dataset classes with partner", "city 5 4", "park 5 3", "lake 3 1", "union 9 4"]
    assert sections["in several datasets"] == [
        *("Road city, park (road)", "person city, park", "light city, park", "sky city, lake (Sky)")
    ]
    assert sections["the same name, perhaps for something else"] == ["city/light is a thing, but stuff in park/light"]
    assert sections["similar names, not related"] == ["car (park) · cars (city)", "tree (park) · tree-other (lake)"]
    assert sections["without partner"] == ["city (1): cars", "park (2): car, tree", "lake (2): water, tree-other"]
    assert "containing or overlapping each other" not in sections


def test_by_name_as_json(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, *data)
    assert ["city", "Road", "same", "park", "road"] in found["relations"]
    assert {"name": "Road", "classes": [["city", "Road"], ["park", "road"]]} in found["union"]
    assert {"name": "water", "classes": [["lake", "water"]]} in found["union"]
    assert found["homonyms"] == [
        {"classes": [["city", "light"], ["park", "light"]], "reason": "is a thing, but stuff in"}
    ]
    assert {"classes": [["park", "car"], ["city", "cars"]], "kind": "spelling"} in found["similar_names"]
    assert found["without_partner"]["park"] == ["car", "tree"]


def test_by_relations(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.tsv"
    lines = [
        *("city\tcars\tsame\tpark\tcar", "city\tperson\tcontains\tpark\tperson"),
        *("park\ttree\tpart of\tlake\ttree-other", "park\tlight\toverlaps\tcity\tsky"),
    ]
    path.write_text("\n".join([HEADER, *lines]))
    sections = shown(capsys, *data, "--by", path)
    assert sections["in several datasets"] == ["cars city, park (car)"]
    assert sections["containing or overlapping each other"] == [
        *("city/person contains park: person", "lake/tree-other contains park: tree", "park/light overlaps city: sky")
    ]
    assert sections["the same name, perhaps for something else"] == [
        *("city/Road is not related to park/road", "city/person contains park/person"),
        *("city/light is not related to park/light", "city/sky is not related to lake/Sky"),
    ]
    assert "similar names, not related" not in sections


def test_written_relations_say_the_same_when_read(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_name = as_json(capsys, *data, "--out", tmp_path / "r.tsv")
    assert as_json(capsys, *data, "--by", tmp_path / "r.tsv")["relations"] == by_name["relations"]


def test_a_master_table_comes_out_and_goes_in(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_name = as_json(capsys, *data, "--out", tmp_path / "m.tsv", "--format", "mseg")
    header, first, *rest = (tmp_path / "m.tsv").read_text().splitlines()
    assert header == "city\tpark\tlake\tuniversal"
    assert first == "Road\troad\t\tRoad"
    assert len(rest) == 8
    assert as_json(capsys, *data, "--by", tmp_path / "m.tsv")["relations"] == by_name["relations"]


def test_columns_of_a_master_table_are_told(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["city-9\tgarden\tuniversal", "Road\troad\troad", "person\tperson\tperson", "cars\tcar\tcar"]
    (tmp_path / "m.tsv").write_text("\n".join(rows))
    assert call(*data, "--by", tmp_path / "m.tsv", "--columns", "park=garden", "--json") == 0
    captured = capsys.readouterr()
    assert ["city", "cars", "same", "park", "car"] in json.loads(captured.out)["relations"]
    assert captured.err.splitlines() == [
        "city: column 'city-9', 3 of 5 classes; it does not know light, sky",
        "park: column 'garden', 3 of 5 classes; it does not know light, tree",
        "lake: no column of m.tsv fits; name one with --columns lake=COLUMN",
    ]


def test_long_lists_are_shortened_unless_all_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [f"common {number}" for number in range(25)]
    data = [write_dataset(tmp_path / name, [*common, *(f"{name}{n}" for n in range(40))]) for name in ("foo", "bar")]
    sections = shown(capsys, *data)
    assert len(sections["in several datasets"]) == 21
    assert sections["in several datasets"][-1] == "… and 5 more: --all shows them"
    assert sections["without partner"][0].endswith("foo29, … and 10 more")
    sections = shown(capsys, *data, "--all")
    assert len(sections["in several datasets"]) == 25
    assert sections["without partner"][0].endswith("foo38, foo39")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give two at least"),
        (["--by", "none.tsv"], "cannot read none.tsv: No such file or directory."),
        (["--format", "mseg"], "it needs --out FILE"),
        (["--columns", "city=x"], "--columns is for a master table"),
        (["--limit", "3"], "--limit is for measuring: it needs --model RUN"),
        (["--flip"], "--flip is for measuring"),
        (["--threshold", "0.6"], "--threshold is for measuring"),
        (["--format", "csv"], "--format"),
        (["--modle", "x"], "did you mean '--model'?"),
    ],
)
def test_wrong_calls(arguments: list[str], message: str, data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*(data if arguments else data[:1]), *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) <= 2


def test_wrong_columns(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("city\tuniversal\nRoad\troad\nperson\tperson\ncars\tcar\n")
    for columns, message in [
        (["--columns", "city"], "--columns city: expected NAME=COLUMN"),
        (["--columns", "ctiy=city"], "did you mean 'city'"),
        (["--columns", "city=cty"], "did you mean 'city'"),
        ([], "columns for fewer than two of the datasets city, park, lake"),
    ]:
        assert call(*data, "--by", path, *columns) == 2
        assert message in capsys.readouterr().err


def test_relations_that_contradict_each_other_make_no_master_table(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.tsv"
    path.write_text(f"{HEADER}\ncity\tcars\tsame\tpark\tcar\ncity\tsky\tsame\tpark\tcar\n")
    assert call(*data, "--by", path, "--out", tmp_path / "m.tsv", "--format", "mseg") == 2
    assert "of one dataset, cannot share pixels" in capsys.readouterr().err
    assert not (tmp_path / "m.tsv").exists()


def test_a_misspelt_dataset_in_a_table_is_told(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.tsv"
    header = "from_dataset\tfrom_class\trelation\tto_dataset\tto_class\n"
    path.write_text(f"{header}city\tcars\tsame\tprak\tcar\ncity\tperson\tsame\tpark\tperson\n")
    assert call(*data, "--by", path) == 0
    assert capsys.readouterr().err == f"{path}: lines about datasets that are not given are left out: prak\n"
