"""Files of class names, in the forms in which people and tools write them."""

import json

import pytest

from multiseg.wizard.class_names import may_hold_names, read_class_names

ROAD, CAR = (128, 64, 128), (0, 0, 142)

#: Each holds the classes road and car; beside the text: their ids, whether these are stated, and their colours.
FORMS = {
    "classes.txt": [
        ("road\ncar\n", (0, 1), False, None),
        ("\ufeffroad\r\n\r\ncar\r\n", (0, 1), False, None),
        ("# two classes\nroad\ncar", (0, 1), False, None),
        ("7 road\n26 car", (7, 26), True, None),
        ("7: road\n26: car", (7, 26), True, None),
        ("7, road\n26, car", (7, 26), True, None),
        ("7\troad\n26\tcar", (7, 26), True, None),
        ("road 7\ncar 26", (7, 26), True, None),
        ("road = 7\ncar = 26", (7, 26), True, None),
        ("128 64 128\troad\n0 0 142\t\tcar", (0, 1), False, (ROAD, CAR)),
        ("road 128 64 128\ncar 0 0 142", (0, 1), False, (ROAD, CAR)),
        ("road: 128, 64, 128\ncar: 0, 0, 142", (0, 1), False, (ROAD, CAR)),
        ("road (128, 64, 128)\ncar (0, 0, 142)", (0, 1), False, (ROAD, CAR)),
        ("7 road 128 64 128\n26 car 0 0 142", (7, 26), True, (ROAD, CAR)),
        ("7 128 64 128 road\n26 0 0 142 car", (7, 26), True, (ROAD, CAR)),
        ("road #804080\ncar #00008E", (0, 1), False, (ROAD, CAR)),
        ("#804080 road\n#00008e car", (0, 1), False, (ROAD, CAR)),
        ("7,road,#804080\n26,car,#00008e", (7, 26), True, (ROAD, CAR)),
        ("# label:color_rgb:parts:actions\nroad:128,64,128::\ncar:0,0,142::wheel", (0, 1), False, (ROAD, CAR)),
        ('"road"\n"car"', (0, 1), False, None),
    ],
    "class_dict.csv": [
        ("name,r,g,b\nroad,128,64,128\ncar,0,0,142\n", (0, 1), False, (ROAD, CAR)),
        ("id,name,color\n7,road,#804080\n26,car,#00008e\n", (7, 26), True, (ROAD, CAR)),
        ("Class;Red;Green;Blue\nroad;128;64;128\ncar;0;0;142\n", (0, 1), False, (ROAD, CAR)),
        ("Idx\tRatio\tName\tStuff\n7\t0.15\troad\t1\n26\t0.01\tcar\t0\n", (7, 26), True, None),
        ('Label,Value,"rgb"\nroad,7,"128, 64, 128"\ncar,26,"0, 0, 142"\n', (7, 26), True, (ROAD, CAR)),
    ],
    "labels.json": [
        (["road", "car"], (0, 1), False, None),
        ({"names": ["road", "car"]}, (0, 1), False, None),
        ({"7": "road", "26": "car"}, (7, 26), True, None),
        ({"road": 7, "car": 26}, (7, 26), True, None),
        ({"road": [128, 64, 128], "car": [0, 0, 142]}, (0, 1), False, (ROAD, CAR)),
        ({"#804080": "road", "#00008e": "car"}, (0, 1), False, (ROAD, CAR)),
        ({"classes": [{"name": "road", "id": 7}, {"name": "car", "id": 26}]}, (7, 26), True, None),
        ({"7": {"name": "road", "color": ROAD}, "26": {"name": "car", "color": CAR}}, (7, 26), True, (ROAD, CAR)),
        ({"road": {"id": 7, "color": "#804080"}, "car": {"id": 26, "color": "#00008e"}}, (7, 26), True, (ROAD, CAR)),
        ({"images": [], "categories": [{"id": 7, "name": "road"}, {"id": 26, "name": "car"}]}, (7, 26), True, None),
        ({"labels": [{"name": "a--b", "readable": "road"}, {"name": "car"}], "version": 2}, (0, 1), False, None),
    ],
    "data.yaml": [
        ("names: [road, car]\nnc: 2\ntrain: images/train\n", (0, 1), False, None),
        ("names:\n  0: road\n  1: car\n", (0, 1), True, None),
        ("road: 7\ncar: 26\n", (7, 26), True, None),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "ids", "is_stated", "colors"),
    [(name, *form) for name, forms in FORMS.items() for form in forms],
)
def test_common_forms_are_read(name, content, ids, is_stated, colors, tmp_path):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    found = read_class_names(path)
    assert [entry.name for entry in found] == ["road", "car"]
    assert tuple(entry.id for entry in found) == ids
    assert {entry.is_stated for entry in found} == {is_stated}
    assert tuple(entry.color for entry in found) == (colors or (None, None))


def test_names_may_have_spaces_and_any_script(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("0 traffic light\n1 Straße, naß\n2 船\n", "utf-8")
    assert [entry.name for entry in read_class_names(path)] == ["traffic light", "Straße, naß", "船"]
    path.write_text("road, traffic light, car", "utf-8")
    assert [entry.name for entry in read_class_names(path)] == ["road", "traffic light", "car"]


def test_things_and_what_is_not_evaluated_are_taken_over(tmp_path):
    path = tmp_path / "config.json"
    labels = [
        {"name": "bird", "color": [165, 42, 42], "instances": True, "evaluate": True},
        {"name": "unlabeled", "color": [0, 0, 0], "instances": False, "evaluate": False},
    ]
    path.write_text(json.dumps({"labels": labels}))
    assert [(entry.thing, entry.ignored) for entry in read_class_names(path)] == [(True, False), (False, True)]


NO_NAMES = {
    "prose": ("label_readme.txt", "These labels were drawn by hand. " * 10),
    "files": ("labels.txt", "masks/1.png\nmasks/2.png\n"),
    "numbers": ("labels.txt", "1 2\n3 4\n"),
    "nothing": ("classes.txt", "\n# empty\n"),
    "no colours": ("colors.txt", "road 300 1 2\ncar 0 0 400"),
    "broken JSON": ("labels.json", "{"),
    "deep JSON": ("labels.json", "[" * 100_000),
    "other JSON": ("labels.json", '{"version": 1.5, "classes": {"road": null}}'),
    "broken YAML": ("labels.yaml", "a: [1"),
    "code in YAML": ("labels.yaml", "!!python/object/apply:os.getcwd []"),
    "a table that breaks off": ("classes.csv", "name,id\nroad,1\n7"),
    "numbers in a table": ("classes.csv", "name,id\n,1\n,2"),
}


@pytest.mark.parametrize(("name", "text"), NO_NAMES.values(), ids=NO_NAMES)
def test_what_holds_no_names_gives_none(name, text, tmp_path):
    (tmp_path / name).write_text(text, "utf-8")
    assert read_class_names(tmp_path / name) == []


def test_what_cannot_be_read_gives_none(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"stra\xdfe\n")
    assert read_class_names(tmp_path / "classes.txt") == []
    assert read_class_names(tmp_path / "absent.txt") == []
    (tmp_path / "labels.txt").write_text("road\n" * 500_000)
    assert read_class_names(tmp_path / "labels.txt") == []


def test_only_files_that_sound_like_it_are_read():
    assert all(map(may_hold_names, ("x/classes.txt", "label_colors.txt", "colormap.csv", "config.json", "data.yaml")))
    assert not any(map(may_hold_names, ("train.txt", "readme.txt", "classes/notes.txt", "x/dataset.yaml")))
