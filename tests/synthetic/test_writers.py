"""What lies on disk: the files of a dataset agree with each other and with what was rendered."""

import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from multiseg.datasets.base import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace, pack_colors
from multiseg.synthetic import DOMAINS, render, write_datasets

SIZE = (64, 88)
FOLDERS = [name for name, domain in DOMAINS.items() if domain.masks != "cityscapes"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    return write_datasets(root, images=4, val_images=2, seed=5, size=SIZE)


def pixels(path):
    with Image.open(path) as file:
        return np.asarray(file)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_returns_a_complete_folder_for_each_domain(written):
    assert list(written) == list(DOMAINS)
    for name, folder in written.items():
        assert folder.name == name
        assert not list(folder.parent.glob(".*"))


def test_cityscapes_files_agree(written):
    root, domain = written["street"], DOMAINS["street"]
    for split, count in (("train", 4), ("val", 2)):
        images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        assert len(images) == count
        panoptic = json.loads((root / f"gtFine/cityscapes_panoptic_{split}.json").read_text())
        annotations = {entry["image_id"]: entry for entry in panoptic["annotations"]}
        categories = {entry["id"]: entry for entry in panoptic["categories"]}
        assert [entry["id"] for entry in panoptic["images"]] == list(annotations)
        for index, image in enumerate(images):
            name = image.name.removesuffix("_leftImg8bit.png")
            truth = root / "gtFine" / split / image.parent.name
            scene = render(domain, 5, index, SIZE, split)
            ids = pixels(truth / f"{name}_gtFine_labelIds.png")
            instance_ids = pixels(truth / f"{name}_gtFine_instanceIds.png").astype(np.int32)
            np.testing.assert_array_equal(pixels(image), scene.image)
            np.testing.assert_array_equal(ids, domain.raw_of_world[scene.classes])
            things = np.isin(ids, [key for key, entry in categories.items() if entry["isthing"]])
            np.testing.assert_array_equal(instance_ids >= 1000, things)
            np.testing.assert_array_equal(np.where(things, instance_ids // 1000, instance_ids), ids)
            check_same_partition(instance_ids[things], scene.instances[things])

            annotation = annotations[name]
            painted = root / f"gtFine/cityscapes_panoptic_{split}" / annotation["file_name"]
            panoptic_ids = pack_colors(pixels(painted))
            ignored = np.isin(ids, (0, 1))
            np.testing.assert_array_equal(panoptic_ids, np.where(ignored, 0, instance_ids))
            segments = {segment["id"]: segment for segment in annotation["segments_info"]}
            assert set(segments) == set(np.unique(panoptic_ids)) - {0}
            for segment in segments.values():
                rows, columns = np.nonzero(panoptic_ids == segment["id"])
                assert segment["area"] == len(rows)
                width, height = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
                assert segment["bbox"] == [columns.min(), rows.min(), width, height]
                assert set(ids[rows, columns]) == {segment["category_id"]}
                assert segment["category_id"] in categories and segment["iscrowd"] == 0


def check_same_partition(first, second):
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_cityscapes_uses_the_official_ids():
    official = {"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19}
    official |= {"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26}
    official |= {"truck": 27, "bicycle": 33}
    assert {entry.name: entry.raw_ids[0] for entry in DOMAINS["street"].label_space.classes} == official


@pytest.mark.parametrize("name", FOLDERS)
def test_yaml_describes_the_masks(written, name):
    root, domain = written[name], DOMAINS[name]
    description = yaml.safe_load((root / "dataset.yaml").read_text())
    assert description["name"] == name and description["license"] == "CC0-1.0"
    as_colors = description["encoding"] == "colors"
    classes, ignored = [], description["ignore"]
    for entry in description["classes"]:
        assert ("id" in entry) != as_colors
        color = tuple(entry["color"])
        raw = int(pack_colors(np.array(color, np.uint8))) if as_colors else entry["id"]
        classes.append(LabelClass(entry["name"], (raw,), color, entry["thing"]))
    if as_colors:
        ignored = pack_colors(np.array(ignored, np.uint8)).tolist()
    space = LabelSpace(name, tuple(classes), tuple(ignored))
    assert space == domain.label_space
    for split, folders in description["splits"].items():
        images, masks = (sorted((root / folders[key]).iterdir()) for key in ("images", "masks"))
        assert [path.stem for path in images] == [path.stem for path in masks]
        assert len(images) == {"train": 4, "val": 2}[split]
        for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
            scene = render(domain, 5, index, SIZE, split)
            raw = pack_colors(pixels(mask)) if as_colors else pixels(mask)
            labels = space.from_raw(raw, str(mask))
            np.testing.assert_array_equal(labels, domain.label_space.from_raw(domain.raw_of_world[scene.classes]))
            difference = pixels(image).astype(int) - scene.image
            assert abs(difference).mean() < 12  # JPEG
            assert image.suffix == ".jpg" and (labels == IGNORE).mean() < 0.5


def test_the_three_encodings_are_there(written):
    modes = {}
    for name in FOLDERS:
        with Image.open(next((written[name] / "masks/train").iterdir())) as mask:
            modes[name] = mask.mode
            if mask.mode == "P":
                palette = np.array(mask.getpalette()).reshape(-1, 3)
                for entry in DOMAINS[name].label_space.classes:
                    assert tuple(palette[entry.raw_ids[0]]) == entry.color
    assert modes == {"square": "L", "room": "P", "harbour": "RGB"}


def test_the_readers_of_this_package_read_them(written):
    for name, folder in written.items():
        domain = DOMAINS[name]
        reader = find_reader("cityscapes" if domain.masks == "cityscapes" else "folder")
        dataset = reader(folder, "val", name)
        assert len(dataset) == 2
        sample = dataset[1]
        scene = render(domain, 5, 1, SIZE, "val")
        labels = domain.label_space.from_raw(domain.raw_of_world[scene.classes])
        assert sample.image.shape == (3, *SIZE)
        for index, entry in enumerate(domain.label_space.classes):
            read_as = sample.space.index(entry.name)
            np.testing.assert_array_equal(sample.labels.numpy() == read_as, labels == index)


def test_same_seed_same_files_and_workers_do_not_matter(tmp_path):
    first = write_datasets(tmp_path / "a", images=3, val_images=1, domains=["street", "room"], size=(40, 48))
    second = write_datasets(
        tmp_path / "b", images=3, val_images=1, domains=["street", "room"], size=(40, 48), workers=2
    )
    for name in first:
        assert files(first[name]) == files(second[name])


def test_an_earlier_output_is_replaced_as_a_whole(tmp_path):
    options = {"val_images": 1, "domains": ["square"], "size": (40, 48)}
    write_datasets(tmp_path, images=3, **options)
    write_datasets(tmp_path, images=1, **options)
    assert len(list((tmp_path / "square/images/train").iterdir())) == 1


def test_progress_counts_every_picture(tmp_path):
    calls = []
    write_datasets(
        tmp_path, 2, domains=["room", "square"], size=(40, 48), progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(n, 6) for n in range(1, 7)]


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "thesis.txt").write_text("mine")
    with pytest.raises(MultisegError, match="room is not empty"):
        write_datasets(tmp_path, images=1, domains=["square", "room"], size=(40, 48))
    assert [path.name for path in tmp_path.rglob("*")] == ["room", "thesis.txt"]
    (tmp_path / "harbour").write_text("a file")
    with pytest.raises(MultisegError, match="harbour is a file"):
        write_datasets(tmp_path, images=1, domains=["harbour"])


def test_an_interrupted_run_leaves_no_dataset_and_is_no_obstacle(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    options = {"images": 2, "domains": ["room"], "size": (40, 48)}
    with pytest.raises(KeyboardInterrupt):
        write_datasets(tmp_path, progress=interrupt, **options)
    assert not list(tmp_path.iterdir())
    write_datasets(tmp_path, **options)
    assert len(list((tmp_path / "room/images/train").iterdir())) == 2


def test_no_permission_is_a_plain_error(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", os.fspath(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(MultisegError, match="Permission denied"):
        write_datasets(tmp_path / "locked", images=1, domains=["room"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ["streets"]}, "did you mean 'street'"),
        ({"images": 0}, "at least one image"),
        ({"val_images": 0}, "at least one image"),
        ({"workers": 0}, "one worker"),
        ({"size": (8, 8)}, "too small"),
        ({"seed": -3}, "-3"),
    ],
)
def test_bad_arguments_are_named(tmp_path, options, message):
    with pytest.raises(MultisegError, match=message):
        write_datasets(tmp_path, **{"images": 1, "domains": ["room"], **options})
    assert not list(tmp_path.iterdir())
