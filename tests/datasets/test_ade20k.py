"""ADE20K in its three forms, beyond what the contract asks of every reader."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiseg.datasets.ade20k import ADE20K
from multiseg.datasets.ade20k_full import ADE20KFull
from multiseg.datasets.ade20k_panoptic import ADE20KPanoptic
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE, UnknownIdsError

TABLES = Path(__file__).parent / "label_ids"

#: Ids of the scene parsing masks.
WALL, BUILDING, BED, PERSON, FLAG = 1, 2, 8, 13, 150

#: The 100 classes of the Places Challenge 2017, typed from its `instanceInfo100_train.txt`, where 58 is called
#: television receiver.
INSTANCE_CLASSES = """
bed; windowpane; cabinet; person; door; table; curtain; chair; car; painting; sofa; shelf; mirror; armchair; seat;
fence; desk; wardrobe; lamp; bathtub; railing; cushion; box; column; signboard; chest of drawers; counter; sink;
fireplace; refrigerator; stairs; case; pool table; pillow; screen door; bookcase; coffee table; toilet; flower; book;
bench; countertop; stove; palm; kitchen island; computer; swivel chair; boat; arcade machine; bus; towel; light; truck;
chandelier; awning; streetlight; booth; television; airplane; apparel; pole; bannister; ottoman; bottle; van; ship;
fountain; washer; plaything; stool; barrel; basket; bag; minibike; oven; ball; food; step; trade name; microwave; pot;
animal; bicycle; dishwasher; screen; sculpture; hood; sconce; vase; traffic light; tray; ashcan; fan; plate; monitor;
bulletin board; radiator; glass; clock; flag
"""


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def write(root, stuff, red=None, green=None, blue=0):
    """One image of the validation split: scene parsing ids, and red, green and blue of its instances."""
    stuff = np.asarray(stuff)
    save(root / "images/validation/ADE_val_00000001.jpg", np.zeros((*stuff.shape, 3)))
    save(root / "annotations/validation/ADE_val_00000001.png", stuff)
    if red is not None:
        channels = [np.asarray(red), np.asarray(green), np.full_like(stuff, blue)]
        save(root / "annotations_instance/validation/ADE_val_00000001.png", np.stack(channels, -1))
    return root


def test_scene_parsing_needs_no_instances(tmp_path):
    dataset = ADE20K(write(tmp_path, [[0, WALL, FLAG]]), "val")
    assert dataset[0].labels.tolist() == [[IGNORE, 0, 149]]
    assert dataset[0].segments is None
    with pytest.raises(EmptySplitError, match="images/training does not exist"):
        ADE20K(tmp_path, "train")


def test_things_lie_over_stuff_and_things_without_instance_are_ignored(tmp_path):
    root = write(
        tmp_path,
        stuff=[[WALL, WALL, BED, BED, PERSON, 0]],
        # instance class 1 is bed, 4 is person; the person at the left stands before the wall
        red=[[0, 4, 1, 0, 4, 1]],
        green=[[0, 1, 2, 0, 3, 2]],
    )
    segments = ADE20KPanoptic(root, "val")[0].segments
    assert segments.labels.tolist() == [[0, 12, 7, IGNORE, 12, 7]]
    ids = segments.ids[0].tolist()
    assert ids[2] == ids[5] and len({ids[0], ids[1], ids[2], ids[4]}) == 4 and ids[3] == IGNORE
    assert [segments.classes[ids[place]].item() for place in (0, 1, 2, 4)] == [0, 12, 7, 12]
    assert not segments.crowd.any()


def test_it_is_what_a_loop_over_pixels_finds(tmp_path):
    random = np.random.default_rng(0)
    with (TABLES / "ade20k_panoptic.csv").open() as file:
        rows = {int(row["raw_id"]): row for row in csv.DictReader(file) if row["ignored"] == "0"}
    names = [name.strip() for name in INSTANCE_CLASSES.split(";")]
    stuff = random.integers(0, 151, (30, 40))
    green = random.integers(0, 4, (30, 40)) * random.integers(0, 2, (30, 40))
    red = np.where(green > 0, np.array([0, 3, 100, 58])[green], random.integers(0, 255, (30, 40)))
    expected = np.full((30, 40), IGNORE)
    for place in np.ndindex(30, 40):
        if green[place]:
            expected[place] = next(raw for raw in rows if rows[raw]["name"] == names[red[place] - 1]) - 1
        elif stuff[place] and rows[stuff[place]]["thing"] == "0":
            expected[place] = stuff[place] - 1
    sample = ADE20KPanoptic(write(tmp_path, stuff, red, green), "val")[0]
    np.testing.assert_array_equal(sample.labels, expected)
    assert len(sample.segments) == len(np.unique(expected[expected != IGNORE]))


def test_instance_classes_are_the_things_in_order():
    things = [entry.name for entry in ADE20KPanoptic.label_space.classes if entry.thing]
    assert things == [name.strip() for name in INSTANCE_CLASSES.split(";")]


def test_blue_means_nothing(tmp_path):
    root = write(tmp_path, [[WALL, WALL]], red=[[4, 4]], green=[[1, 0]], blue=77)
    assert ADE20KPanoptic(root, "val")[0].labels.tolist() == [[12, 0]]


@pytest.mark.parametrize(
    ("stuff", "red", "file", "unknown"),
    [(WALL, 101, "annotations_instance", 101), (WALL, 0, "annotations_instance", 0), (151, 4, "annotations", 151)],
)
def test_an_unknown_id_is_named_with_its_file(tmp_path, stuff, red, file, unknown):
    root = write(tmp_path, [[stuff, stuff]], red=[[0, red]], green=[[0, 1]])
    dataset = ADE20KPanoptic(root, "val")
    with pytest.raises(UnknownIdsError, match=f"{file}/validation/ADE_val_00000001.png: id {unknown} is no") as error:
        dataset[0]
    assert error.value.ids == (unknown,)
    assert [problem.count for problem in check_dataset(dataset, workers=1).errors] == [1]


def test_missing_instances_are_found_by_the_check(tmp_path):
    root = write(tmp_path, [[WALL]])
    (root / "annotations_instance/validation").mkdir(parents=True)
    dataset = ADE20KPanoptic(root, "val")
    assert dataset.missing_files() == ([], [0])
    with pytest.raises(MultisegError, match=r"annotations_instance/validation/ADE_val_00000001\.png does not exist"):
        dataset[0]


def test_instances_of_another_size_are_refused(tmp_path):
    root = write(tmp_path, [[WALL, WALL]], red=[[0, 0]], green=[[0, 0]])
    save(root / "annotations_instance/validation/ADE_val_00000001.png", np.zeros((1, 3, 3)))
    with pytest.raises(MultisegError, match=r"annotations_instance/.* is 3×1, but .*annotations/.* is 2×1"):
        ADE20KPanoptic(root, "val")[0]


def test_scene_parsing_alone_is_no_panoptic_root(tmp_path):
    with pytest.raises(MultisegError, match="has no 'annotations_instance'"):
        ADE20KPanoptic(write(tmp_path, [[WALL]]), "val")


def write_full(root, ids, folder="urban/street", split="training", name="ADE_train_00000001"):
    ids = np.asarray(ids)
    scene = root / f"images/ADE/{split}/{folder}"
    save(scene / f"{name}.jpg", np.zeros((*ids.shape, 3)))
    save(scene / f"{name}_seg.png", np.stack([ids // 256 * 10, ids % 256, np.full_like(ids, 9)], -1))
    return scene


def test_every_id_of_the_full_dataset_is_read_as_it_was_written(tmp_path):
    with (TABLES / "ade20k_full.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [IGNORE if row["ignored"] == "1" else place for place, row in enumerate(rows)]
    assert max(expected) == 846
    write_full(tmp_path, [[int(row["raw_id"]) for row in rows]])
    assert ADE20KFull(tmp_path, "train")[0].labels.tolist() == [expected]


def test_an_id_that_the_full_dataset_has_not_is_refused(tmp_path):
    write_full(tmp_path, [[0, 3688, 3689]])
    with pytest.raises(MultisegError, match=r"ADE_train_00000001_seg\.png: id 3689 is no class of 'ade20k_full'"):
        ADE20KFull(tmp_path, "train")[0]


def test_scenes_lie_at_any_depth_and_other_files_beside_them(tmp_path):
    (tmp_path / "index_ade20k.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # never opened
    for folder, name in (("a", "ADE_train_00000002"), ("b/c", "ADE_train_00000001"), ("b/c/d.e", "ADE_train_00000003")):
        scene = write_full(tmp_path, [[312]], folder, name=name)
        save(scene / f"{name}_parts_1.png", np.zeros((1, 1, 3)))
        save(scene / f"{name}/instance_000_{name}.png", np.zeros((1, 1)))
        save(scene / f"{name}/never_read_seg.png", np.zeros((1, 1, 3)))
        (scene / f"{name}.json").write_text("{}")
    dataset = ADE20KFull(tmp_path, "train")
    keys = [f"images/ADE/training/{path}" for path in ("a/ADE_train_00000002", "b/c/ADE_train_00000001")]
    assert [dataset[index].key for index in range(3)] == [*keys, "images/ADE/training/b/c/d.e/ADE_train_00000003"]
    assert dataset[0].labels.item() == 1
    with pytest.raises(EmptySplitError, match="images/ADE/validation does not exist"):
        ADE20KFull(tmp_path, "val")


def test_lonely_files_of_the_full_dataset_are_found(tmp_path):
    scene = write_full(tmp_path, [[312]])
    write_full(tmp_path, [[312]], name="ADE_train_00000002")
    (scene / "ADE_train_00000001.jpg").unlink()
    (scene / "ADE_train_00000002_seg.png").unlink()
    assert ADE20KFull(tmp_path, "train").missing_files() == ([0], [1])
