import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.datasets.base import (
    Listing,
    PairTable,
    decoding,
    image_header,
    image_size,
    leaves_root,
    list_lines,
    read_image,
    read_mask,
)
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace, UnknownIdsError, pack_colors

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# images


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.PNG"])
def test_a_lossless_image_is_read_exactly(tmp_path, name):
    assert np.array_equal(read_image(save(tmp_path / name, RGB)).permute(1, 2, 0), RGB)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_a_lossy_image_is_read_nearly(tmp_path, name):
    smooth = np.repeat(np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)[..., None], 3, axis=2)
    image = read_image(save(tmp_path / name, smooth, quality=95)).permute(1, 2, 0).numpy()
    assert np.abs(image.astype(int) - smooth).max() < 12


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P"])
def test_any_mode_becomes_rgb(tmp_path, mode):
    expected = np.asarray(Image.fromarray(RGB).convert(mode).convert("RGB"))
    assert np.array_equal(read_image(save(tmp_path / "a.png", RGB, mode)).permute(1, 2, 0), expected)


def test_a_jpeg_of_four_inks_becomes_rgb(tmp_path):
    red = np.full((16, 16, 3), (200, 30, 40), np.uint8)
    image = read_image(save(tmp_path / "a.jpg", red, "CMYK", quality=95))
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - red).max() < 12


def test_sixteen_bits_become_eight_and_not_white(tmp_path):
    deep = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    assert np.array_equal(read_image(save(tmp_path / "a.png", deep))[1], deep >> 8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_and_their_sizes_are_turned_as_the_exif_says(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, np.zeros((6, 9, 3), np.uint8), exif=exif)
    assert image_size(path) == tuple(read_image(path).shape[-2:]) == ((9, 6) if orientation > 4 else (6, 9))
    assert image_size(path, turned=False) == (6, 9)
    assert image_header(path).orientation == orientation


def chunk(letters, content):
    return struct.pack(">I", len(content)) + letters + content + struct.pack(">I", zlib.crc32(letters + content))


def test_an_exif_tag_behind_the_pixels_of_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(tmp_path / "a.png", RGB).read_bytes()
    end = data.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(data[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + data[end:])
    assert image_size(tmp_path / "a.png") == tuple(read_image(tmp_path / "a.png").shape[-2:]) == (9, 6)


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 255
    path.write_bytes(data)
    assert image_size(path) == (6, 9)
    with pytest.raises(MultisegError):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "mode", "bits"),
    [
        ("a.png", "L", 8),
        ("a.png", "1", 8),
        ("a.png", "P", 8),
        ("a.png", "RGBA", 8),
        ("a.jpg", "CMYK", 8),
        ("a.tif", "RGB", 8),
    ],
)
def test_a_header_tells_how_an_image_is_saved(tmp_path, name, mode, bits):
    header = image_header(save(tmp_path / name, RGB, mode))
    assert (header.size, header.mode, header.bits, header.orientation) == ((6, 9), mode, bits, 1)
    assert header.format == {"a.png": "PNG", "a.jpg": "JPEG", "a.tif": "TIFF"}[name]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_header_tells_of_sixteen_bits(tmp_path, name):
    grey = save(tmp_path / name, np.zeros((6, 9), np.uint16))
    assert (image_header(grey).mode, image_header(grey).bits) == ("I;16", 16)


def test_a_header_tells_of_sixteen_bits_a_colour(tmp_path):
    rows = zlib.compress(b"".join(b"\0" + bytes(9 * 6) for _ in range(6)))
    path = tmp_path / "a.png"
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 9, 6, 16, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert (image_header(path).mode, image_header(path).bits) == ("RGB", 16)


def png(rows):
    """A PNG of raw rows, each with its filter byte, with right checksums."""

    header = struct.pack(">IIBBBBB", (len(rows[0]) - 1) // 3, len(rows), 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_damaged_png_does_not_end_the_process(tmp_path):
    rows = [b"\0" + row.tobytes() for row in RGB]
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png(rows))
    assert np.array_equal(read_image(good).permute(1, 2, 0), RGB)
    bad.write_bytes(png([*rows[:3], b"\x09" + rows[3][1:], *rows[4:]]))  # there is no filter 9
    with pytest.raises(MultisegError, match=r"bad\.png cannot be decoded"):
        read_image(bad)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
def test_damaged_files_are_named_whatever_the_damage(tmp_path, name):
    path = tmp_path / name
    fake_trees.write_image(path, (24, 32))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(len(whole))])
        for place in random.integers(0, len(whole), 4):
            damaged[place : place + 1] = bytes([random.integers(256)])
        path.write_bytes(damaged)
        for read in (read_image, image_size, lambda file: read_mask(file, True), lambda file: read_mask(file, False)):
            try:
                read(path)
            except MultisegError as error:
                assert name in str(error)
                assert "\n" not in str(error)


def test_absurdly_large_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 53)
    path = save(tmp_path / "a.png", RGB)
    for read in (read_image, image_size, lambda file: read_mask(file, False)):
        with pytest.raises(MultisegError, match="54 pixels, more than 53 are refused"):
            read(path)


@pytest.mark.parametrize("read", [read_image, image_size, lambda file: read_mask(file, False)])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(MultisegError, match=r"a\.png does not exist"):
        read(tmp_path / "a.png")


# masks

IDS = np.random.default_rng(1).integers(0, 7, (5, 8)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_masks_hold_their_ids_however_saved(tmp_path, mode):
    assert np.array_equal(read_mask(save(tmp_path / "m.png", IDS, mode), as_colors=False), IDS)


def test_the_indices_of_a_palette_are_the_ids(tmp_path):
    image = Image.fromarray(IDS).convert("P")
    image.putdata(IDS.ravel().tolist())
    image.putpalette(np.random.default_rng(2).integers(0, 256, 768).tolist())
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", as_colors=False), IDS)


def test_sixteen_and_one_bit_masks(tmp_path):
    deep = IDS.astype(np.uint16) * 9000
    assert np.array_equal(read_mask(save(tmp_path / "m.png", deep), as_colors=False), deep)
    assert np.array_equal(read_mask(save(tmp_path / "b.png", IDS > 3), as_colors=False), IDS > 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_packed(tmp_path, mode):
    assert np.array_equal(read_mask(save(tmp_path / "m.png", RGB, mode), as_colors=True), pack_colors(RGB))


def test_colours_of_a_palette_are_packed(tmp_path):
    path = save(tmp_path / "m.png", RGB, "P")
    with Image.open(path) as file:
        expected = pack_colors(np.asarray(file.convert("RGB")))
    assert np.array_equal(read_mask(path, as_colors=True), expected)


def test_colours_where_ids_are_expected_are_refused(tmp_path):
    with pytest.raises(MultisegError, match=r"m\.png holds colours, but ids are expected"):
        read_mask(save(tmp_path / "m.png", RGB), as_colors=False)


@pytest.mark.parametrize("count", [1, 2, 9, 64, 300])
def test_colours_are_looked_up_as_in_a_dictionary(count):
    random = np.random.default_rng(count)
    known = random.choice(np.arange(2**16, 2**24), count, replace=False)
    classes = tuple(LabelClass(str(raw), (int(raw),), (0, 0, 0)) for raw in known[: max(1, count - 1)])
    space = LabelSpace("colours", classes, ignore_ids=tuple(int(raw) for raw in known[max(1, count - 1) :]))
    table = {raw: index for index, raw in enumerate(known.tolist())} | ({int(known[-1]): -1} if count > 1 else {})
    raw = random.choice(known, (20, 30))
    expected = [[table[value] for value in row] for row in raw.tolist()]
    for dtype in (np.int32, np.int64, np.uint32):
        assert space.from_raw(raw.astype(dtype)).tolist() == expected
    strangers = sorted(set(random.integers(0, 2**24, 500).tolist()) - set(known.tolist()))
    with pytest.raises(UnknownIdsError) as error:
        space.from_raw(np.array([[*strangers, *known]], np.int32))
    assert list(error.value.ids) == strangers


def test_a_mask_of_another_size_is_refused_on_reading(tmp_path):
    root = fake_trees.write_folder(tmp_path)
    fake_trees.write_mask(root / "masks/val/9.png", (3, 5), (1, 3))
    with pytest.raises(MultisegError, match=r"9\.png is 5×3, but its image 9\.jpg is 40×24"):
        find_reader("folder")(root, "val")[0]


# lists of files


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_pairs_match_by_path_without_the_ending_in_sorted_order(tmp_path):
    touch(tmp_path, "i/b/2_x.JPG", "i/a.1_x.jpg", "i/notes.txt", "i/._a.1_x.jpg", "m/b/2_y.png", "m/a.1_y.png", "m/z")
    pairs = list(Listing(tmp_path).pairs("i", "m", ("_x.jpg",), ("_y.png",)))
    assert pairs == [("i/a.1_x.jpg", "m/a.1_y.png"), ("i/b/2_x.JPG", "m/b/2_y.png")]


def test_lonely_files_are_paired_with_the_name_of_what_is_missing(tmp_path):
    touch(tmp_path, "i/1.jpg", "m/2.png")
    pairs = list(Listing(tmp_path).pairs("i", "m", (".jpg", ".png"), (".png",)))
    assert pairs == [("i/1.jpg", "m/1.png"), ("i/2.jpg", "m/2.png")]


def test_two_files_for_one_partner_are_refused(tmp_path):
    touch(tmp_path, "i/1.jpg", "i/1.png", "m/1.png")
    with pytest.raises(MultisegError, match=r"i has both 1\.jpg and 1\.png; keep one"):
        list(Listing(tmp_path).pairs("i", "m", (".jpg", ".png"), (".png",)))


def test_masks_may_lie_within_the_folder_of_the_images(tmp_path):
    touch(tmp_path, "i/1.png", "i/m/1.png")
    assert list(Listing(tmp_path).pairs("i", "i/m", (".png",), (".png",))) == [("i/1.png", "i/m/1.png")]


def test_missing_files_are_found_by_listing(tmp_path):
    root = fake_trees.write_camvid(tmp_path)
    dataset = find_reader("camvid")(root, "train")
    assert dataset.missing_files() == ([], [])
    (root / "train/0006R0_2.png").unlink()
    (root / "trainannot/0001TP_1.png").unlink()
    assert dataset.missing_files() == ([1], [0])


def test_a_table_of_pairs_returns_any_name(tmp_path):
    pairs = [("a b.jpg", "c.png"), ("é/日.jpg", "\udcff.png"), ("x", "y")]
    table = PairTable(pairs)
    assert len(table) == 3
    assert [table[index] for index in range(3)] == pairs
    for index in (-1, 3):
        with pytest.raises(IndexError):
            table[index]


def test_lists_may_have_blank_lines_a_byte_order_mark_and_windows_line_ends(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\n\r\n b.jpg \r\n\xff.jpg")
    assert list(list_lines(tmp_path / "l.txt")) == [(1, "a.jpg"), (3, "b.jpg"), (4, "\udcff.jpg")]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "C:x", "\\x", "a\\..\\x"])
def test_paths_that_leave_the_root_are_recognised(path):
    assert leaves_root(path)


@pytest.mark.parametrize("path", ["x", "a/b.jpg", "a..b/c", "./a"])
def test_paths_below_the_root_are_not(path):
    assert not leaves_root(path)


def test_camvid_reads_official_lists_with_reencoded_images(tmp_path):
    root = fake_trees.write_camvid(tmp_path)
    (root / "val/0016E5_3.png").unlink()
    fake_trees.write_image(root / "val/0016E5_3.jpg", (24, 40))
    assert find_reader("camvid")(root, "val")[0].key == "val/0016E5_3"


def test_camvid_names_the_line_that_is_no_pair(tmp_path):
    root = fake_trees.write_camvid(tmp_path)
    (root / "train.txt").write_text("/SegNet/a.png\n")
    with pytest.raises(MultisegError, match=r"train\.txt, line 1: expected an image and a mask"):
        find_reader("camvid")(root, "train")


def test_labelmefacade_refuses_a_list_that_leaves_the_root(tmp_path):
    root = fake_trees.write_labelmefacade(tmp_path)
    (root / "train.txt").write_text("images/street_a.jpg\n../secret.jpg\n")
    with pytest.raises(MultisegError, match=r"train\.txt, line 2: '\.\./secret\.jpg' lies outside the dataset"):
        find_reader("labelmefacade")(root, "train")


def test_the_swapped_split_swaps(tmp_path):
    root = fake_trees.write_labelmefacade(tmp_path)
    official = {split: len(find_reader("labelmefacade")(root, split)) for split in ("train", "test")}
    swapped = {split: len(find_reader("labelmefacade_swapped")(root, split)) for split in ("train", "val")}
    assert (official["train"], official["test"]) == (swapped["val"], swapped["train"]) == (2, 1)


@pytest.mark.slow
def test_indexing_many_files_takes_seconds(tmp_path):
    for folder, ending in (("images", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for number in range(120_000):
            (tmp_path / folder / f"{number:06}.{ending}").touch()
    start = time.perf_counter()
    table = PairTable(Listing(tmp_path).pairs("images", "masks", (".jpg",), (".png",)))
    assert len(table) == 120_000
    assert time.perf_counter() - start < 10
