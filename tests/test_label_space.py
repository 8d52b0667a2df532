"""Label spaces against plain loops, and every way in which one can be wrong."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiseg.errors import MultisegError
from multiseg.label_space import (
    IGNORE,
    LabelClass,
    LabelSpace,
    Union,
    UnknownIdsError,
    disjoint_union,
    pack_colors,
    union_by_name,
)


def space(name: str, *classes: str, ignore: tuple[int, ...] = (255,)) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (i, 0, 0)) for i, c in enumerate(classes)), ignore)


def test_ids_map_to_places_and_ignored_ones_to_ignore() -> None:
    odd = LabelSpace("odd", (LabelClass("a", (7, 9), (1, 1, 1)), LabelClass("b", (3,), (2, 2, 2))), (0, 255))
    raw = np.array([[7, 9, 3], [0, 255, 3]], np.uint8)
    assert odd.from_raw(raw).tolist() == [[0, 0, 1], [IGNORE, IGNORE, 1]]


def test_to_raw_undoes_from_raw() -> None:
    odd = LabelSpace("odd", (LabelClass("a", (7,), (1, 1, 1)), LabelClass("b", (3,), (2, 2, 2))), (40,))
    raw = np.array([[7, 3, 40]], np.uint8)
    assert odd.to_raw(odd.from_raw(raw)).tolist() == raw.tolist()


def test_unknown_id_names_file_and_id() -> None:
    with pytest.raises(MultisegError, match=r"mask\.png: id 9 is no class of 'camvid'"):
        space("camvid", "road", "sky").from_raw(np.array([[0, 9]], np.uint8), "mask.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_outside_the_table_are_unknown_not_wrapped(dtype: type) -> None:
    with pytest.raises(MultisegError, match="id"):
        space("x", "a", ignore=()).from_raw(np.array([[0, 200]], dtype))


@pytest.mark.parametrize("bad", [70_000, -1])
def test_wide_ids_outside_the_table_are_unknown(bad: int) -> None:
    with pytest.raises(MultisegError, match=str(bad)):
        space("x", "a").from_raw(np.array([[0, bad]], np.int32))


@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=40, unique=True), st.randoms())
def test_colours_map_like_a_dictionary(raw_ids: list[int], random: object) -> None:
    classes = tuple(LabelClass(f"c{i}", (raw,), (0, 0, 0)) for i, raw in enumerate(raw_ids))
    colours = LabelSpace("colours", classes)
    pixels = [random.choice(raw_ids) for _ in range(50)]  # type: ignore[attr-defined]
    labels = colours.from_raw(np.array([pixels], np.int32))
    assert labels[0].tolist() == [raw_ids.index(p) for p in pixels]


@pytest.mark.parametrize("wall", [128, 70_000])
def test_unknown_colour_is_shown_as_colour(wall: int) -> None:
    red = int(pack_colors(np.array([200, 10, 3], np.uint8)))
    colours = LabelSpace("facade", (LabelClass("wall", (wall,), (0, 0, 0)),))
    with pytest.raises(MultisegError, match=r"mask\.png: colour \(200, 10, 3\) is .* known: \(\d+, \d+, [01]\)\."):
        colours.from_raw(np.array([[red]], np.int32), "mask.png", as_colors=True)
    with pytest.raises(MultisegError, match=rf"id {red} is .* known: {wall}\."):
        colours.from_raw(np.array([[red]], np.int32))


def test_pack_colors_is_coco_panoptic_id() -> None:
    assert int(pack_colors(np.array([1, 2, 3], np.uint8))) == 1 + 256 * 2 + 65536 * 3


def test_more_than_255_classes_leave_no_hole_at_255() -> None:
    large = LabelSpace("large", tuple(LabelClass(str(i), (i,), (0, 0, 0)) for i in range(300)), (1000,))
    raw = np.arange(300, dtype=np.uint16)[None]
    assert large.from_raw(raw)[0].tolist() == list(range(300))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LabelSpace("x", (LabelClass("a", (0,), (0, 0, 0)), LabelClass("a", (1,), (0, 0, 0)))),
        lambda: LabelSpace("x", (LabelClass("a", (0,), (0, 0, 0)), LabelClass("b", (0,), (0, 0, 0)))),
        lambda: LabelSpace("x", (LabelClass("a", (0,), (0, 0, 0)),), (0,)),
    ],
)
def test_ambiguous_spaces_are_refused(make: object) -> None:
    with pytest.raises(MultisegError, match="'x'"):
        make()  # type: ignore[operator]


def test_unknown_class_names_the_nearest() -> None:
    with pytest.raises(MultisegError, match="did you mean 'Pavement'"):
        space("camvid", "Road", "Pavement").index("pavment")


def test_json_round_trip() -> None:
    original = LabelSpace("x", (LabelClass("a", (3, 4), (1, 2, 3), thing=True),), (9,))
    assert LabelSpace.from_json(original.to_json()) == original


def test_disjoint_union_keeps_equal_names_apart() -> None:
    union = disjoint_union([space("a", "wall", "sky"), space("b", "wall")])
    assert union.space.names == ("a/wall", "a/sky", "b/wall")
    assert union.to_union(np.array([[0, IGNORE]], np.int16), "b").tolist() == [[2, IGNORE]]


def test_union_by_name_unites_spellings_of_one_name() -> None:
    union = union_by_name([space("a", "Traffic-Light", "sky"), space("b", "car", "traffic light")])
    assert union.space.names == ("Traffic-Light", "sky", "car")
    assert union.tables == {"a": (0, 1), "b": (2, 0)}


def test_union_of_datasets_of_one_name_is_refused() -> None:
    with pytest.raises(MultisegError, match="'a' occurs twice"):
        disjoint_union([space("a", "x"), space("a", "y")])


def test_colorize_paints_ignored_pixels_black() -> None:
    picture = space("x", "a", "b").colorize(np.array([[1, IGNORE]]))
    assert picture.tolist() == [[[1, 0, 0], [0, 0, 0]]]


def test_its_tables_do_not_travel() -> None:
    space = LabelSpace("a", (LabelClass("x", (60_000,), (0, 0, 0)),))
    fresh = len(pickle.dumps(space))
    space.from_raw(np.array([[60_000]]))
    assert space.colors.shape == (1, 3)
    assert len(pickle.dumps(space)) == fresh
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert copy.from_raw(np.array([[60_000]])).tolist() == [[0]]


@pytest.mark.parametrize("union", [disjoint_union, union_by_name])
def test_one_table_for_images_of_many_datasets(union: object) -> None:
    spaces = [space("a", "road", "sky", "car"), LabelSpace("photos", ()), space("b", "sky")]
    joined = union(spaces)  # type: ignore[operator]
    table = joined.lookup()
    assert table.shape == (3, 4)
    for row, own in zip(table, spaces, strict=True):
        assert row[: len(own)].tolist() == list(joined.tables[own.name])
        assert (row[len(own) :] == IGNORE).all() and row[IGNORE] == IGNORE


def test_a_space_without_classes_knows_nothing_but_what_is_ignored() -> None:
    photos = LabelSpace("photos", ())
    nothing = np.full((2, 3), IGNORE, np.int16)
    assert len(photos) == 0 and photos.colors.shape == (0, 3) and photos.things.shape == (0,)
    assert (photos.colorize(nothing) == 0).all()
    assert (photos.to_raw(nothing) == 255).all()
    assert LabelSpace.from_json(photos.to_json()) == photos
    with pytest.raises(UnknownIdsError):
        photos.from_raw(np.zeros((2, 3), np.uint8))
    assert (LabelSpace("photos", (), (7,)).from_raw(np.full((2, 3), 7)) == IGNORE).all()


@pytest.mark.parametrize("join", [disjoint_union, union_by_name])
def test_a_space_without_classes_adds_none_to_a_union(join: Callable[[list[LabelSpace]], Union]) -> None:
    a, b = (LabelSpace(name, (LabelClass(f"{name} class", (0,), (0, 0, 0)),)) for name in ("a", "b"))
    union = join([a, LabelSpace("photos", ()), b])
    assert union.space.classes == join([a, b]).space.classes
    assert union.tables == {"a": (0,), "photos": (), "b": (1,)}
