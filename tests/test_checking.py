"""Each fault is made on purpose in a sound tree, and must be found with the right file named."""

import json

import numpy as np
import pytest
from PIL import Image

import fake_trees
from multiseg.checking import check_dataset
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError

SIZE = (20, 24)


@pytest.fixture
def root(tmp_path):
    """Forty pairs of the classes water (1) and ship (3, 4), enough for two chunks."""
    for number in range(40):
        fake_trees.write_image(tmp_path / f"images/train/{number:02}.jpg", SIZE, number)
        fake_trees.write_mask(tmp_path / f"masks/train/{number:02}.png", SIZE, (0, 1, 3, 4), number)
    splits = "splits:\n  train: {images: images/train, masks: masks/train}\n"
    (tmp_path / "dataset.yaml").write_text(fake_trees.HARBOUR.split("splits:")[0] + splits)
    return tmp_path


def check(root, **options):
    return check_dataset(find_reader("folder")(root, "train"), **options)


def only_problem(report):
    (problem,) = report.problems
    return problem


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def test_a_sound_tree_is_ok(root):
    report = check(root)
    assert report.ok
    assert report.problems == ()
    assert (report.images, report.decoded) == (40, 40)
    report.raise_for_errors()
    pixels = SIZE[0] * SIZE[1] * 40
    assert sum(report.class_pixels.values()) + report.ignored_pixels == pixels
    assert report.class_pixels["ship"] == pixels // 2
    assert str(report) == "harbour/train: 40 images, all decoded: ok"


@pytest.mark.parametrize("kind", ["missing_image", "missing_mask"])
@pytest.mark.parametrize("limit", [None, 1])
def test_missing_files_are_found_even_outside_the_sample(root, kind, limit):
    name = "images/train/33.jpg" if kind == "missing_image" else "masks/train/33.png"
    (root / name).unlink()
    problem = only_problem(check(root, limit=limit))
    assert (problem.kind, problem.count, problem.examples) == (kind, 1, (name,))
    assert problem.is_error


@pytest.mark.parametrize("cut_bytes", [1, 2, 5, 13, 40, 200])
def test_a_truncated_jpeg_is_found(root, cut_bytes):
    cut(root / "images/train/07.jpg", -cut_bytes)
    problem = only_problem(check(root))
    assert (problem.kind, problem.count) == ("unreadable_image", 1)
    assert problem.examples[0].startswith("images/train/07.jpg cannot be decoded")


@pytest.mark.parametrize("cut_bytes", [1, 4, 8, 12, 13, 16, 20, 40])
def test_a_truncated_png_is_found_wherever_it_is_cut(root, cut_bytes):
    cut(root / "masks/train/07.png", -cut_bytes)
    problem = only_problem(check(root))
    assert (problem.kind, problem.examples) == ("unreadable_mask", ("masks/train/07.png is truncated.",))


def test_a_flipped_bit_in_a_png_is_found(root):
    path = root / "masks/train/39.png"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 4
    path.write_bytes(data)
    problem = only_problem(check(root))
    assert problem.kind == "unreadable_mask"
    assert problem.examples == ("masks/train/39.png is damaged: wrong checksum.",)


def test_an_empty_file_and_a_text_file_are_no_images(root):
    (root / "images/train/00.jpg").write_bytes(b"")
    (root / "masks/train/01.png").write_text("a web page said: not found")
    report = check(root)
    assert [(p.kind, p.examples[0].split()[0]) for p in report.problems] == [
        ("unreadable_image", "images/train/00.jpg"),
        ("unreadable_mask", "masks/train/01.png"),
    ]


@pytest.mark.parametrize("limit", [None, 1])
def test_a_mask_of_another_size_is_found_even_outside_the_sample(root, limit):
    fake_trees.write_mask(root / "masks/train/05.png", (24, 20), (1, 3))
    problem = only_problem(check(root, limit=limit))
    assert problem.kind == "size_mismatch"
    assert problem.examples == ("masks/train/05.png is 20×24, its image 24×20",)


@pytest.mark.parametrize("limit", [None, 1])
def test_a_turned_photograph_is_compared_as_it_will_be_seen(root, limit):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "images/train/05.jpg"
    with Image.open(path) as image:
        image.save(path, exif=exif)
    assert only_problem(check(root, limit=limit)).kind == "size_mismatch"
    fake_trees.write_mask(root / "masks/train/05.png", SIZE[::-1], (1, 3))
    assert check(root, limit=limit).ok


def test_unknown_ids_are_counted_by_file_most_frequent_first(root):
    for number in (3, 8, 35):
        fake_trees.write_mask(root / f"masks/train/{number:02}.png", SIZE, (1, 3, 9))
    fake_trees.write_mask(root / "masks/train/20.png", SIZE, (1, 7, 9))
    problem = only_problem(check(root))
    assert (problem.kind, problem.count) == ("unknown_id", 2)
    assert problem.examples == ("id 9 in 4 masks, first masks/train/03.png", "id 7 in masks/train/20.png")


def test_unknown_colours_are_shown_as_colours(tmp_path):
    root = fake_trees.write_labelmefacade(tmp_path)
    fake_trees.write_mask(
        root / "labels/street b.png", fake_trees.SIZES[1], [*fake_trees.LABELMEFACADE_COLORS, (1, 2, 3)]
    )
    problem = only_problem(check_dataset(find_reader("labelmefacade")(root, "train")))
    assert problem.examples == ("colour (1, 2, 3) in labels/street b.png",)


def test_colours_where_ids_are_expected(root):
    fake_trees.write_image(root / "masks/train/02.png", SIZE)
    problem = only_problem(check(root))
    assert problem.kind == "unreadable_mask"
    assert problem.examples == ("masks/train/02.png holds colours, but ids are expected.",)


def test_empty_masks_are_a_warning(root):
    fake_trees.write_mask(root / "masks/train/11.png", SIZE, (0,))
    report = check(root)
    assert report.ok
    assert [p.kind for p in report.warnings] == ["empty_mask"]
    assert report.warnings[0].examples == ("masks/train/11.png",)
    assert report.errors == ()


def test_classes_never_seen_are_a_warning_unless_only_a_sample_was_decoded(root):
    for path in (root / "masks/train").iterdir():
        fake_trees.write_mask(path, SIZE, (0, 1))
    problem = only_problem(check(root))
    assert (problem.kind, problem.is_error, problem.examples) == ("unseen_class", False, ("ship",))
    assert check(root, limit=10).problems == ()


def test_withheld_labels_are_said_once(tmp_path):
    root = fake_trees.write_cityscapes(tmp_path)
    report = check_dataset(find_reader("cityscapes")(root, "test"))
    assert report.ok
    assert [p.kind for p in report.problems] == ["withheld_labels"]


def damage_everything(root):
    (root / "masks/train/38.png").unlink()
    (root / "images/train/37.jpg").unlink()
    for number in range(0, 14, 2):
        cut(root / f"images/train/{number:02}.jpg", 300)
    fake_trees.write_mask(root / "masks/train/21.png", SIZE, (1, 200))
    fake_trees.write_mask(root / "masks/train/22.png", (9, 9), (0,))


def test_every_fault_of_a_tree_is_found_at_once_and_the_same_with_any_number_of_workers(root):
    damage_everything(root)
    reports = [check(root, workers=workers) for workers in (1, 2, 7)]
    kinds = ["missing_image", "missing_mask", "unreadable_image", "size_mismatch", "unknown_id", "empty_mask"]
    assert [problem.kind for problem in reports[0].problems] == kinds
    assert [problem.count for problem in reports[0].problems] == [1, 1, 7, 1, 1, 1]
    assert [name.split()[0] for name in reports[0].problems[2].examples] == [
        f"images/train/{number:02}.jpg" for number in range(0, 10, 2)
    ]
    assert reports[0] == reports[1] == reports[2]


def test_the_report_as_text_and_json(root):
    damage_everything(root)
    report = check(root)
    text = str(report)
    assert text.startswith("harbour/train: 40 images, all decoded: 5 kinds of error\n  error: missing_image ×1. ")
    assert "\n    … and 2 more\n" in text
    assert "\n  warning: empty_mask ×1. " in text
    data = json.loads(json.dumps(report.to_json()))
    assert data["ok"] is False
    assert data["problems"][2]["count"] == 7
    assert data["problems"][2]["is_error"] is True
    assert data["problems"][2]["advice"] in text
    assert data["class_pixels"].keys() == {"water", "ship"}


def test_errors_stop_training_in_two_lines(root):
    damage_everything(root)
    with pytest.raises(MultisegError, match=r"harbour/train: missing_image ×1, first images/train/37\.jpg") as error:
        check(root).raise_for_errors()
    assert str(error.value).count("\n") == 1
    assert f"multiseg datasets check harbour={root}" in str(error.value)


@pytest.mark.parametrize(
    ("limit", "decoded"), [(1, [0]), (4, [0, 10, 20, 30]), (3, [0, 13, 26]), (40, range(40)), (99, range(40))]
)
def test_a_limit_decodes_evenly_spaced_samples(root, monkeypatch, limit, decoded):
    dataset = find_reader("folder")(root, "train")
    read = []
    read_raw = type(dataset).read_raw
    monkeypatch.setattr(
        type(dataset), "read_raw", lambda self, path: (read.append(int(path.stem)), read_raw(self, path))[1]
    )
    report = check_dataset(dataset, limit=limit)
    assert sorted(read) == list(decoded)
    assert report.decoded == len(decoded)


def test_a_limit_below_one_is_refused(root):
    with pytest.raises(MultisegError, match="at least 1, not 0"):
        check(root, limit=0)


def test_progress_ends_at_the_total_and_its_exceptions_stop_the_check(root):
    seen = []
    check(root, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(32, 40), (40, 40)]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(root, progress=interrupt)


def test_class_pixels_equal_a_naive_count(root):
    report = check(root)
    dataset = find_reader("folder")(root, "train")
    labels = np.concatenate([dataset[index].labels.numpy().ravel() for index in range(40)])
    for index, name in enumerate(dataset.label_space.names):
        assert report.class_pixels[name] == (labels == index).sum()
    assert report.ignored_pixels == (labels == -1).sum()
