"""Which folders and suffixes are found in trees as people keep them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiseg.errors import MultisegError
from multiseg.wizard.layout import find_layout
from multiseg.wizard.tree import scan

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def write(root: Path, *paths: str) -> Path:
    """Files by what their paths say: blocks of ids, of colours or numbers of objects, and noise for pictures."""
    blocks = np.arange(4, dtype=np.uint8).reshape(2, 2).repeat(12, 0).repeat(16, 1)
    for path in expanded(*paths):
        file = root / path.lstrip("?#*")
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("?"):
            Image.fromarray(blocks).save(file)
        elif path.startswith("#"):
            Image.fromarray(np.stack([blocks * 50, blocks, blocks * 20], -1)).save(file)
        elif file.suffix in (".txt", ".json"):
            file.write_text("")
        else:
            Image.fromarray(NOISE).save(file)
    return root


def expanded(*paths: str) -> list[str]:
    """`a/{b,c}` as `a/b` and `a/c`."""
    out = []
    for path in paths:
        head, brace, rest = path.partition("{")
        if not brace:
            out.append(path)
            continue
        choices, _, tail = rest.partition("}")
        out += expanded(*(head + choice + tail for choice in choices.split(",")))
    return out


MANY = (("frames", "{1,2}.jpg"), ("?truth", "{1,2}.png"))

#: Files ("?" masks of ids, "#" masks of colours, others pictures), and the folders and suffixes they stand for.
TREES = {
    "two folders": (["images/{1,2,3}.jpg", "?masks/{1,2,3}.png"], {"": ("images", "masks")}, "", ""),
    "splits below": (
        ["images/{train,val}/{1,2}.jpg", "?masks/{train,val}/{1,2}.png"],
        {"train": ("images/train", "masks/train"), "val": ("images/val", "masks/val")},
        *("", ""),
    ),
    "splits above": (
        ["{train,test,valid}/images/{1,2}.png", "?{train,test,valid}/labels/{1,2}.png"],
        {split: (f"{split_}/images", f"{split_}/labels") for split, split_ in
         {"train": "train", "val": "valid", "test": "test"}.items()},
        *("", ""),
    ),
    "short names": (["img/{a,b}.png", "?lbl/{a,b}.png"], {"": ("img", "lbl")}, "", ""),
    "Pascal VOC": (
        ["JPEGImages/2007_{1,2,3}.jpg", "?SegmentationClass/2007_{1,2}.png", "?SegmentationObject/2007_{1,2}.png"],
        {"": ("JPEGImages", "SegmentationClass")},
        *("", ""),
    ),
    "Cityscapes": (
        [
            "leftImg8bit/{train,val}/{ulm,bonn}/x_{1,2}_leftImg8bit.png",
            "?gtFine/{train,val}/{ulm,bonn}/x_{1,2}_gtFine_labelIds.png",
            "?gtFine/{train,val}/{ulm,bonn}/x_{1,2}_gtFine_instanceIds.png",
            "#gtFine/{train,val}/{ulm,bonn}/x_{1,2}_gtFine_color.png",
        ],
        {split: (f"leftImg8bit/{split}", f"gtFine/{split}") for split in ("train", "val")},
        *("_leftImg8bit", "_gtFine_labelIds"),
    ),
    "SegNet": (
        ["{train,val}/x_{1,2}.png", "?{train,val}annot/x_{1,2}.png", "train.txt"],
        {"train": ("train", "trainannot"), "val": ("val", "valannot")},
        *("", ""),
    ),
    "CamVid": (
        ["701_StillsRaw_full/Seq05_f0{1,2,3}.png", "#LabeledApproved_full/Seq05_f0{1,2,3}_L.png"],
        {"": ("701_StillsRaw_full", "LabeledApproved_full")},
        *("", "_L"),
    ),
    "ADE20K": (
        ["images/{training,validation}/x_{1,2}.jpg", "?annotations/{training,validation}/x_{1,2}.png"],
        {"train": ("images/training", "annotations/training"), "val": ("images/validation", "annotations/validation")},
        *("", ""),
    ),
    "BDD100K": (
        [
            "bdd/images/10k/{train,val,test}/{a,b}.jpg",
            "?bdd/labels/sem_seg/masks/{train,val}/{a,b}.png",
            "#bdd/labels/sem_seg/colormaps/{train,val}/{a,b}.png",
        ],
        {split: (f"bdd/images/10k/{split}", f"bdd/labels/sem_seg/masks/{split}") for split in ("train", "val")},
        *("", ""),
    ),
    "Mapillary": (
        [
            "{training,validation}/images/{a,b}.jpg",
            "?{training,validation}/labels/{a,b}.png",
            "?{training,validation}/{instances,panoptic}/{a,b}.png",
        ],
        {"train": ("training/images", "training/labels"), "val": ("validation/images", "validation/labels")},
        *("", ""),
    ),
    "split words within names": (
        ["{Train,Val}_Images/{1,2}.jpg", "?{Train,Val}_Masks/{1,2}.png"],
        {"train": ("Train_Images", "Train_Masks"), "val": ("Val_Images", "Val_Masks")},
        *("", ""),
    ),
    "split words behind": (
        ["images_prepped_{train,test}/{1,2}.png", "?annotations_prepped_{train,test}/{1,2}.png"],
        {s: (f"images_prepped_{s}", f"annotations_prepped_{s}") for s in ("train", "test")},
        *("", ""),
    ),
    "suffixes in one folder": (
        ["data/{1,2,3}_image.jpg", "?data/{1,2,3}_label.png"], {"": ("data", "data")}, "_image", "_label",
    ),
    "a suffix of masks only": (["data/{1,2,3}.png", "?data/{1,2,3}_mask.png"], {"": ("data", "data")}, "", "_mask"),
    "parts beside": (
        ["ADE/{a,b}.jpg", "#ADE/{a,b}_seg.png", "#ADE/{a,b}_parts_1.png"], {"": ("ADE", "ADE")}, "", "_seg",
    ),
    "nothing but endings": (["data/{1,2,3}.jpg", "?data/{1,2,3}.png"], {"": ("data", "data")}, ".jpg", ".png"),
    "the root itself": (["{1,2,3}.jpg", "?{1,2,3}.png"], {"": (".", ".")}, ".jpg", ".png"),
    "suffixes, dots and numbers": (
        ["a/{1,2,12,21}.rgb.png", "?a/{1,2,12,21}.seg.png"], {"": ("a", "a")}, ".rgb", ".seg",
    ),
    "splits of one folder": (
        ["{train,val}/{1,2}.jpg", "?{train,val}/{1,2}_seg.png"],
        {"train": ("train", "train"), "val": ("val", "val")},
        *("", "_seg"),
    ),
    "masks within the images": (["{1,2}.jpg", "?masks/{1,2}.png"], {"": (".", "masks")}, "", ""),
    "capital endings": (["Images/{1,2}.JPG", "?Masks/{1,2}.TIF"], {"": ("Images", "Masks")}, "", ""),
    "pictures beside": (
        ["x/images/{1,2,3}.png", "?x/masks/{1,2,3}.png", "#x/masks_color/{1,2,3}.png", "x/overlays/{1,2,3}.png"],
        {"": ("x/images", "x/masks")},
        *("", ""),
    ),
    "renderings only": (["images/{1,2}.png", "#color/{1,2}.png"], {"": ("images", "color")}, "", ""),
    "many films": (
        [f"{kind}/film{film}/{name}" for film in range(30) for kind, name in MANY],
        {"": ("frames", "truth")},
        *("", ""),
    ),
    "a few films": (
        ["frames/{a,b,c}/{1,2}.jpg", "?truth/{a,b,c}/{1,2}.png"], {"": ("frames", "truth")}, "", "",
    ),
    "names that say nothing": (["a/{1,2,3}.png", "?b/{1,2,3}.png"], {"": ("a", "b")}, "", ""),
    "spaces and accents": (
        ["Bilder für uns/Straße {1,2}.png", "?meine Masken/Straße {1,2}.png"],
        {"": ("Bilder für uns", "meine Masken")},
        *("", ""),
    ),
    "few masks": ([f"img/{i}.jpg" for i in range(40)] + ["?lbl/{7,17}_m.png"], {"": ("img", "lbl")}, "", "_m"),
    "few masks of one folder": (
        [f"data/x{i}.jpg" for i in range(40)] + ["?data/x{2,7,9,17,22,30}_m.png"], {"": ("data", "data")}, "", "_m",
    ),
    "few masks of several kinds": (
        [f"a/{i:02}_image.png" for i in range(30)] + ["?b/{07,17,18}_{label,instance,edge}.png"],
        {"": ("a", "b")},
        *("_image", "_label"),
    ),
    "no masks for the test": (
        ["images/{train,test}/{1,2}.jpg", "?masks/train/{1,2}.png"], {"train": ("images/train", "masks/train")}, "", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "folders", "image_suffix", "mask_suffix"), TREES.values(), ids=TREES)
def test_images_and_masks_are_found(files, folders, image_suffix, mask_suffix, tmp_path):
    layout = find_layout(scan(write(tmp_path, *files)))
    assert dict(layout.folders) == folders
    assert list(layout.folders) == list(folders)  # trained on first
    assert (layout.image_suffix, layout.mask_suffix) == (image_suffix, mask_suffix)


def test_it_says_what_is_alone(tmp_path):
    write(tmp_path, "images/{train,test}/{1,2,3}.jpg", "?masks/train/{1,2,4}.png")
    notes = find_layout(scan(tmp_path)).notes
    assert [note.split(":")[0] for note in notes] == [
        "images/test has images, but no masks were found for them",
        "1 images have no mask, 1 masks have no image",
    ]


def test_numbers_of_objects_are_doubted(tmp_path):
    write(tmp_path, "images/{1,2}.jpg", "?panoptic/{1,2}.png")
    (note,) = find_layout(scan(tmp_path)).notes
    assert note == "the masks are called 'panoptic': do their values stand for classes, or for single objects?"


def test_flat_drawings_are_told_from_masks_by_their_names(tmp_path):
    write(tmp_path, "#drawings/{1,2}.png", "?labels/{1,2}.png")
    assert find_layout(scan(tmp_path)).folders == {"": ("drawings", "labels")}


NOTHING = {
    "no pictures": (["readme.txt"], "holds no images: looked for files ending in .jpg, .jpeg, .png"),
    "JPEG masks": (
        ["images/{1,2}.jpg", "masks/{1,2}.jpg"],
        "holds 4 pictures, all JPEG or WebP: masks must be lossless",
    ),
    "other names": (
        ["images/{a,b}.jpg", "?masks/{c,d}.png"],
        "holds 4 pictures, but no two folders, and no two suffixes",
    ),
    "photographs twice": (["a/{1,2}.png", "b/{1,2}.png"], "of which one looks like masks"),
    "photographs only": (["a/{1,2}.png"], "of which one looks like masks"),
    "frames of a film": (["a/frame_{001,002,003}.png"], "of which one looks like masks"),
    "masks only": (["?a/{x,y,z}.png"], "of which one looks like masks"),
}


@pytest.mark.parametrize(("files", "message"), NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_found_it_says_what_was_looked_for(files, message, tmp_path):
    with pytest.raises(MultisegError, match=message) as error:
        find_layout(scan(write(tmp_path, *files)))
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MultisegError, match="absent does not exist"):
        scan(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(MultisegError, match="file is no folder"):
        scan(tmp_path / "file")


def test_hidden_files_and_those_of_other_systems_do_not_count(tmp_path):
    write(tmp_path, "images/{1,2}.jpg", "?masks/{1,2}.png", "?__MACOSX/masks/{1,2}.png", "?.cache/{1,2}.png")
    (tmp_path / "masks/._1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "images/Thumbs.db").write_bytes(b"")
    tree = scan(tmp_path)
    assert {name: list(files) for name, files in tree.pictures.items()} == {
        "images": ["1.jpg", "2.jpg"],
        "masks": ["1.png", "2.png"],
    }


def test_a_link_in_a_circle_ends(tmp_path):
    write(tmp_path, "images/{1,2}.jpg", "?masks/{1,2}.png")
    try:
        (tmp_path / "images/again").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert find_layout(scan(tmp_path)).folders == {"": ("images", "masks")}


def test_names_that_are_no_utf8_do_no_harm(tmp_path):
    name = os.fsdecode(b"stra\xdfe")
    try:
        write(tmp_path, f"images/{name}{{1,2}}.jpg", f"?masks/{name}{{1,2}}.png")
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    assert find_layout(scan(tmp_path)).folders == {"": ("images", "masks")}


def test_damaged_files_do_not_stop_it(tmp_path):
    write(tmp_path, "images/{1,2,3}.png", "?masks/{1,2,3}.png")
    (tmp_path / "masks/1.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    (tmp_path / "images/2.png").write_bytes(b"")
    assert find_layout(scan(tmp_path)).folders == {"": ("images", "masks")}
