"""Each fault is made on purpose in a sound tree, and must be found with the right file named."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

import damaged_trees
import fake_trees
from multiseg.cli import main
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.inspection.checking import check_dataset, compare_splits
from multiseg.inspection.sample import content_digest

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
    assert (problem.kind, problem.examples) == ("colored_mask", ("masks/train/02.png",))
    assert "encoding: colors" in problem.advice


def test_so_many_unknown_ids_that_they_are_no_ids_are_counted_up_to_a_limit(root, monkeypatch):
    monkeypatch.setattr("multiseg.inspection.checking._MOST_IDS", 3)
    fake_trees.write_mask(root / "masks/train/02.png", SIZE, (11, 12, 13, 14, 15))
    fake_trees.write_mask(root / "masks/train/05.png", SIZE, (12, 16))
    problem = only_problem(check(root))
    assert problem.count == 3
    assert problem.examples[0] == "id 12 in 2 masks, first masks/train/02.png"


def test_a_missing_mask_names_what_lies_there_instead(root):
    (root / "masks/train/05.png").rename(root / "masks/train/05.jpeg")
    assert only_problem(check(root)).examples == ("masks/train/05.png (there is 05.jpeg)",)


def test_masks_saved_otherwise_are_counted_though_few_are_shown(root):
    for number in range(7):
        path = root / f"masks/train/{number:02}.png"
        with Image.open(path) as mask:
            mask.convert("RGB").save(path)
    problem = only_problem(check(root))
    assert (problem.kind, problem.severity, problem.count) == ("odd_mask", "warning", 7)
    assert problem.examples[0] == "masks/train/00.png is not 8-bit grey but RGB"
    assert str(problem).endswith("… and 2 more")


def test_palettes_may_stand_beside_rgb_where_masks_are_colours(tmp_path):
    root = fake_trees.write_labelmefacade(tmp_path)
    path = root / "labels/street b.png"
    with Image.open(path) as mask:
        mask.quantize(16, dither=Image.Dither.NONE).save(path)
    dataset = find_reader("labelmefacade")(root, "train")
    assert check_dataset(dataset).problems == ()


def test_sixteen_bits_are_no_remark_where_ids_need_them(root):
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("id: 1}", "id: 1001}"))
    for path in (root / "masks/train").iterdir():
        Image.fromarray(np.full(SIZE, 1001, np.uint16)).save(path)
    assert [problem.kind for problem in check(root).problems] == ["unseen_class"]


@pytest.mark.parametrize(("kind", "file_format", "mode"), [("cmyk_image", "JPEG", "CMYK"), ("grey_image", "PNG", "LA")])
@pytest.mark.parametrize("limit", [None, 1])
def test_headers_tell_of_odd_images(root, kind, file_format, mode, limit):
    path = root / "images/train/31.jpg"
    with Image.open(path) as image:
        image.convert(mode).save(path, file_format)
    found = {problem.kind: problem for problem in check(root, limit=limit).problems}
    assert found[kind].examples == ("images/train/31.jpg",)
    assert check(root, limit=limit).ok


def test_a_square_image_turned_by_exif_cannot_be_judged_by_its_size(root):
    exif = Image.Exif()
    exif[0x0112] = 8
    fake_trees.write_mask(root / "masks/train/05.png", (20, 20), (1, 3))
    Image.new("RGB", (20, 20)).save(root / "images/train/05.jpg", exif=exif)
    problem = only_problem(check(root))
    assert (problem.kind, problem.examples) == ("unclear_turn", ("images/train/05.jpg (orientation 8)",))


def test_copies_are_found_under_any_name_and_in_another_format(root):
    with Image.open(root / "images/train/04.jpg") as image:
        image.save(root / "images/train/09.jpg", "PNG")
        image.save(root / "images/train/30.jpg", "BMP")
    problem = only_problem(check(root))
    assert (problem.kind, problem.severity, problem.count) == ("duplicate_image", "warning", 2)
    assert problem.examples == (
        "images/train/09.jpg = images/train/04.jpg",
        "images/train/30.jpg = images/train/04.jpg",
    )


def test_equal_bytes_in_another_shape_are_another_picture():
    flat = torch.zeros(3, 4, 6, dtype=torch.uint8)
    assert content_digest(tv_tensors.Image(flat)) == content_digest(tv_tensors.Image(flat.clone()))
    assert content_digest(tv_tensors.Image(flat)) != content_digest(tv_tensors.Image(flat.reshape(3, 6, 4)))
    channels_last = flat.random_().contiguous(memory_format=torch.contiguous_format)
    assert content_digest(tv_tensors.Image(channels_last)) == content_digest(
        tv_tensors.Image(channels_last.permute(1, 2, 0).contiguous().permute(2, 0, 1))
    )


def write_splits(root, **splits):
    """Splits that list the given numbers of a tree's images."""
    lines = [f"  {name}: {{list: {name}.txt}}" for name in splits]
    for name, numbers in splits.items():
        (root / f"{name}.txt").write_text("".join(f"{number:02}\n" for number in numbers))
    head = fake_trees.HARBOUR.split("splits:")[0] + "images: images/train\nmasks: masks/train\nsplits:\n"
    (root / "dataset.yaml").write_text(head + "\n".join(lines) + "\n")


def with_splits(root, **splits):
    write_splits(root, **splits)
    return [find_reader("folder")(root, name) for name in splits]


def compared(datasets):
    return compare_splits([(dataset, check_dataset(dataset)) for dataset in datasets])


def test_a_file_in_the_splits_trained_on_and_evaluated_is_a_leak(root):
    train, val = compared(with_splits(root, train=range(10), val=range(8, 14)))
    assert train.problems == ()
    problem = only_problem(val)
    assert (problem.kind, problem.severity, problem.count) == ("leaked_image", "warning", 2)
    assert problem.examples[0] == "images/train/08.jpg is in split train, too"


def test_a_split_made_of_others_is_a_note_and_a_copy_in_it_is_not(root):
    shutil.copy(root / "images/train/03.jpg", root / "images/train/20.jpg")
    *_, both = compared(with_splits(root, train=range(4), val=range(4, 6), both=[*range(6), 20]))
    found = {problem.kind: problem for problem in both.problems}
    assert found["overlapping_split"].count == 6
    assert found["overlapping_split"].severity == "note"
    assert found["duplicate_image"].examples == ("images/train/20.jpg = images/train/03.jpg",)
    assert found["leaked_image"].examples == ("images/train/20.jpg = images/train/03.jpg of split train",)


def test_between_datasets_only_what_one_trains_on_and_the_other_scores_is_a_leak(root):
    train, val = with_splits(root, train=range(3), val=range(3, 5))
    other_train, other_val = (find_reader("folder")(root, split, "other") for split in ("train", "val"))
    reports = compared([train, other_train])
    assert [problem.kind for problem in reports[1].problems] == ["shared_image"]
    assert reports[1].problems[0].examples[0] == "images/train/00.jpg = images/train/00.jpg of harbour/train"
    assert [problem.kind for problem in compared([val, other_val])[1].problems] == ["shared_image"]
    for name in ("train", "val"):
        (root / f"{name}.txt").write_text("01\n")
    train, other_val = find_reader("folder")(root, "train"), find_reader("folder")(root, "val", "other")
    assert compared([train, other_val])[1].problems[0].kind == "leaked_image"


def test_comparing_keeps_what_was_found_and_its_order(root):
    train, val = with_splits(root, train=range(4), val=range(3, 6))
    fake_trees.write_mask(root / "masks/train/05.png", SIZE, (1, 200))
    with Image.open(root / "images/train/04.jpg") as image:
        image.convert("L").save(root / "images/train/04.jpg")
    *_, report = compared([train, val])
    assert [problem.kind for problem in report.problems] == ["unknown_id", "leaked_image", "grey_image"]
    assert compare_splits([]) == []


def test_only_decoded_images_are_compared(root):
    datasets = with_splits(root, train=range(10), val=range(10))
    checked = [(dataset, check_dataset(dataset, limit=2)) for dataset in datasets]
    assert only_problem(compare_splits(checked)[1]).count == 2


def test_headers_of_a_sample_are_read_where_only_a_sample_is_decoded(root, monkeypatch):
    monkeypatch.setattr("multiseg.inspection.checking._HEADERS", 8)
    fake_trees.write_mask(root / "masks/train/05.png", (24, 20), (1, 3))  # every fifth is looked at: 0, 5, 10, ...
    fake_trees.write_mask(root / "masks/train/06.png", (24, 20), (1, 3))
    (root / "masks/train/07.png").unlink()
    report = check(root, limit=2)
    assert (report.images, report.headers, report.decoded) == (40, 8, 2)
    assert {p.kind: p.examples[0][:18] for p in report.problems} == {
        "missing_mask": "masks/train/07.png",
        "size_mismatch": "masks/train/05.png",
    }
    assert "40 images, 2 decoded, headers of 8 read" in str(report)
    assert check(root, limit=20).headers == 20
    assert check(root).headers == 40


def test_panoptic_records_are_compared_with_what_masks_show(tmp_path):
    damaged_trees.write_panoptic(tmp_path)
    dataset = find_reader("panoptic")(tmp_path, "train")
    assert check_dataset(dataset).problems == ()
    # the second record of water makes one segment with the first; the third ship and the second crowd are not there
    index = json.loads((tmp_path / "panoptic_train.json").read_text())
    for record in ({"id": 11, "category_id": 1}, {"id": 21, "category_id": 2}, {"id": 22, "category_id": 2}):
        index["annotations"][1]["segments_info"].append(record)
    (tmp_path / "panoptic_train.json").write_text(json.dumps(index))
    problem = only_problem(check_dataset(find_reader("panoptic")(tmp_path, "train")))
    assert (problem.kind, problem.examples) == ("unseen_segment", ("panoptic_train/01.png: 2 of its records",))


def test_segments_without_a_record_are_told_by_file(tmp_path):
    damaged_trees.write_panoptic(tmp_path)
    for number in (0, 2):
        fake_trees.write_mask(tmp_path / f"panoptic_train/{number:02}.png", SIZE, [(10, 0, 0), (7 + number, 7, 0)])
    problem = only_problem(check_dataset(find_reader("panoptic")(tmp_path, "train")))
    assert (problem.kind, problem.is_error, problem.count) == ("unknown_segment", True, 2)
    assert problem.examples[1] == "panoptic_train/02.png: its JSON has no record of segment 1801."


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


def test_a_limit_or_a_number_of_workers_below_one_is_refused(root):
    with pytest.raises(MultisegError, match="at least 1, not 0"):
        check(root, limit=0)
    with pytest.raises(MultisegError, match="at least 1 worker is needed, not -1"):
        check(root, workers=-1)


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


# The command


def run(*arguments):
    return main(["datasets", "check", *map(str, arguments)])


def test_the_command_looks_at_every_split_and_sums_up(root, capsys):
    write_splits(root, train=range(10), val=range(8, 14))
    assert run(f"harbour={root}") == 0
    out = capsys.readouterr().out
    assert "harbour/train: 10 images, all decoded: ok\n" in out
    assert "\n  warning: leaked_image ×2. " in out
    assert out.endswith("2 splits checked: 1 warning.\n")
    assert run(f"harbour={root}", "--strict") == 1


def test_the_command_can_be_restricted(root, capsys):
    write_splits(root, train=range(10), val=range(8, 14), test=range(20, 25))
    assert run(f"harbour={root}", "--split", "val", "--split", "test", "--limit", 3, "--workers", 1, "--json") == 0
    reports = json.loads(capsys.readouterr().out)
    assert [(report["split"], report["images"], report["decoded"]) for report in reports] == [
        ("val", 6, 3),
        ("test", 5, 3),
    ]
    assert "digests" not in reports[0]


def test_a_split_that_is_not_there_or_broken_does_not_keep_the_others_from_being_checked(root, capsys):
    write_splits(root, train=range(10), val=range(10, 14), test=range(20, 25))
    (root / "val.txt").write_text("")
    (root / "test.txt").write_text("no such picture\n")
    assert run(f"harbour={root}", "--json") == 1
    output = capsys.readouterr()
    found = {report["split"]: [problem["kind"] for problem in report["problems"]] for report in json.loads(output.out)}
    assert found == {"test": ["broken_split"], "train": []}
    assert "harbour val: not there" in output.err


def test_a_copy_with_other_splits_than_the_first_is_checked(tmp_path, capsys):
    root = fake_trees.write_cityscapes(tmp_path)
    shutil.rmtree(root / "leftImg8bit/train")
    assert run(f"cityscapes={root}", "--json") == 0
    assert [report["split"] for report in json.loads(capsys.readouterr().out)] == ["val", "test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "vla"], "harbour has no split 'vla'; did you mean 'val'?"),
        (["--limit", "0"], "at least 1, not 0"),
        (["--workers", "0"], "at least 1 worker is needed, not 0"),
        (["--limit", "many"], "invalid int value: 'many'"),
        (["--strct"], "multiseg datasets check has no option '--strct'; did you mean '--strict'?"),
        (["other=/nowhere"], "dataset 'other': the folder /nowhere does not exist."),
        (["harbour"], "'harbour' is not of the form NAME=ROOT"),
        (["--split", "test"], "split 'test' of folder has no images"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(root, capsys, arguments, message):
    write_splits(root, train=range(3), val=range(3, 5), test=())
    assert run(f"harbour={root}", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
    assert error[-1].startswith("error: ")


def test_nothing_to_check_is_a_wrong_call(root, capsys):
    assert run() == 2
    write_splits(root, train=(), val=())
    assert run(f"harbour={root}") == 2
    assert "has no images" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["list"], ["check"], ["stats"]])
def test_every_command_of_datasets_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main(["datasets", *command, "--help"])
    assert end.value.code == 0
    assert f"example: multiseg datasets {' '.join(command)}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("arguments", [["--json"], ["list", "--json"], ["--json", "list"]])
def test_json_may_stand_before_or_after_the_command(arguments, capsys):
    assert main(["datasets", *arguments]) == 0
    assert "camvid" in json.loads(capsys.readouterr().out)


# Images without masks


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        fake_trees.write_image(tmp_path / f"photos/day {number % 2}/{number}.jpg", SIZE, 100 + number)
    return tmp_path / "photos"


def check_photos(photos, **options):
    return check_dataset(find_reader("images")(photos, "train", "photos"), **options)


@pytest.mark.parametrize("limit", [None, 2])
def test_images_without_masks_miss_nothing(photos, limit):
    report = check_photos(photos, limit=limit)
    assert report.problems == ()
    assert (report.class_pixels, report.ignored_pixels) == ({}, 0)


def test_images_without_masks_are_looked_at_like_others(photos):
    cut(photos / "day 0/0.jpg", -40)
    shutil.copy(photos / "day 1/1.jpg", photos / "day 0/2.jpg")
    with Image.open(photos / "day 1/3.jpg") as image:
        image.convert("L").save(photos / "day 1/3.jpg")
    Image.new("RGB", SIZE).save(photos / "day 1/9.png")
    cut(photos / "day 1/9.png", -9)
    found = {problem.kind: problem.examples for problem in check_photos(photos).problems}
    assert set(found) == {"unreadable_image", "duplicate_image", "grey_image"}
    assert [text.split(" can")[0].split(" is")[0] for text in found["unreadable_image"]] == [
        "day 0/0.jpg",
        "day 1/9.png",
    ]
    assert found["duplicate_image"] == ("day 1/1.jpg = day 0/2.jpg",)


def test_an_image_without_mask_may_be_turned_by_exif(photos):
    exif = Image.Exif()
    for orientation in range(2, 9):
        exif[0x0112] = orientation
        Image.effect_noise((24, 20), 99 + orientation).convert("RGB").save(photos / f"{orientation}.jpg", exif=exif)
    assert check_photos(photos).problems == ()


def test_an_image_of_a_split_that_is_scored_is_a_leak_without_its_mask_too(root, photos):
    train, val = with_splits(root, train=range(3), val=range(3, 5))
    shutil.copy(root / "images/train/00.jpg", photos / "a.jpg")
    shutil.copy(root / "images/train/04.jpg", photos / "b.jpg")
    _, _, report = compared([train, val, find_reader("images")(photos, "train", "photos")])
    assert {problem.kind: problem.examples for problem in report.problems} == {
        "leaked_image": ("b.jpg = images/train/04.jpg of harbour/val",),
        "shared_image": ("a.jpg = images/train/00.jpg of harbour/train",),
    }
