"""Which values masks hold, against counting pixel by pixel."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from multiseg.datasets.base import pack_color
from multiseg.errors import MultisegError
from multiseg.synthetic.layouts.base import palette_image
from multiseg.wizard.census import take_census


def save(root, name, pixels):
    root.mkdir(exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(root / name)
    return name


def blocks(*ids, dtype=np.uint8):
    """Stripes eight pixels wide."""
    return np.array(ids, dtype).repeat(8)[None].repeat(10, 0)


def values(census):
    return [value.raw for value in census.values]


def test_it_counts_pixels_masks_and_where_most_is(tmp_path):
    names = [save(tmp_path, "a.png", blocks(0, 1, 1, 7)), save(tmp_path, "b.png", blocks(1, 255))]
    census = take_census(tmp_path, names)
    assert not census.as_colors and not census.palette and not census.is_blurred
    assert (census.read, census.total, census.pixels) == (2, 2, 10 * 8 * 6)
    assert [(v.raw, v.pixels, v.masks, v.most, v.example) for v in census.values] == [
        (0, 80, 1, 1 / 4, "a.png"),
        (1, 240, 2, 1 / 2, "a.png"),
        (7, 80, 1, 1 / 4, "a.png"),
        (255, 80, 1, 1 / 2, "b.png"),
    ]


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint16), ("a.tif", np.int32)])
def test_ids_may_be_large(name, dtype, tmp_path):
    pixels = blocks(0, 3, 500, dtype=dtype)
    assert values(take_census(tmp_path, [save(tmp_path, name, pixels)])) == [0, 3, 500]


def test_grey_saved_as_colours_holds_ids(tmp_path):
    names = [save(tmp_path, "a.png", blocks(0, 1, 2)[..., None].repeat(3, -1)), save(tmp_path, "b.png", blocks(0) > 0)]
    census = take_census(tmp_path, names)
    assert not census.as_colors
    assert values(census) == [0, 1, 2]


def test_colours_are_counted_as_colours_the_frequent_ones_first(tmp_path):
    colors = np.array([(255, 0, 0), (0, 0, 0), (9, 9, 9)], np.uint8)
    census = take_census(tmp_path, [save(tmp_path, "a.png", colors[blocks(1, 0, 0, 2, 2, 2)])])
    assert census.as_colors
    assert values(census) == [pack_color((9, 9, 9)), pack_color((255, 0, 0)), 0]


def test_a_palette_gives_colours(tmp_path):
    palette = {0: (0, 0, 0), 1: (128, 0, 0), 5: (0, 64, 0)}
    names = [save(tmp_path, f"{i}.png", palette_image(blocks(0, i), palette)) for i in (1, 5)]
    census = take_census(tmp_path, names)
    assert values(census) == [0, 1, 5]
    assert {raw: census.palette[raw] for raw in (0, 1, 5)} == palette


def test_a_grey_palette_gives_none(tmp_path):
    census = take_census(tmp_path, [save(tmp_path, "1.png", palette_image(blocks(0, 1), {0: (0, 0, 0), 1: (9, 9, 9)}))])
    assert census.palette == {}


def test_where_palettes_disagree_colours_count(tmp_path):
    names = [
        save(tmp_path, "1.png", palette_image(blocks(0, 1), {0: (0, 0, 0), 1: (128, 0, 0)})),
        save(tmp_path, "2.png", palette_image(blocks(0, 1), {0: (0, 0, 0), 1: (0, 64, 0)})),
    ]
    census = take_census(tmp_path, names)
    assert census.as_colors
    assert set(values(census)) == {0, pack_color((128, 0, 0)), pack_color((0, 64, 0))}


def test_a_sample_is_even(tmp_path):
    names = [save(tmp_path, f"{i:02}.png", blocks(i)) for i in range(20)]
    census = take_census(tmp_path, names, limit=5)
    assert values(census) == [0, 4, 8, 12, 16]
    assert (census.read, census.total) == (5, 20)


def test_damaged_masks_are_named_and_passed_over(tmp_path):
    names = [save(tmp_path, "a.png", blocks(1, 2)), "b.png", save(tmp_path, "c.png", blocks(2))]
    (tmp_path / "b.png").write_bytes(b"no image")
    census = take_census(tmp_path, names)
    assert values(census) == [1, 2] and census.read == 2
    assert len(census.broken) == 1 and "b.png cannot be decoded" in census.broken[0]
    with pytest.raises(MultisegError, match=r"none of 1 masks can be read; the first: .*b.png cannot be decoded"):
        take_census(tmp_path, ["b.png"])


def test_colours_among_ids_are_damage(tmp_path):
    names = [save(tmp_path, f"{i:02}.png", blocks(1, 2)) for i in range(60)]
    save(tmp_path, "01.png", np.array([(1, 2, 3)], np.uint8)[blocks(0)])  # not among those whose encoding is looked at
    census = take_census(tmp_path, names)
    assert [error.rsplit("/", 1)[1] for error in census.broken] == ["01.png holds colours, but ids are expected."]


def test_smooth_edges_are_noticed(tmp_path):
    large = blocks(0, 255, 0, 90, 0, 200).repeat(8, 0).repeat(4, 1)
    blurred = Image.fromarray(large).rotate(30).filter(ImageFilter.GaussianBlur(2))
    assert take_census(tmp_path, [save(tmp_path, "a.png", blurred)]).is_blurred
    assert not take_census(tmp_path, [save(tmp_path, "b.png", blocks(*range(200)))]).is_blurred


def test_numbers_of_objects_are_refused(tmp_path):
    names = [save(tmp_path, f"{i}.png", np.arange(i * 2000, i * 2000 + 2000, dtype=np.uint16)[None]) for i in range(3)]
    with pytest.raises(MultisegError, match=r"1.png: the masks up to here hold 4000 different values, too many"):
        take_census(tmp_path, names)


def test_progress_reaches_the_end(tmp_path):
    done = []
    take_census(tmp_path, [save(tmp_path, f"{i}.png", blocks(i)) for i in range(3)], progress=done.append)
    assert done == [1, 2, 3]
