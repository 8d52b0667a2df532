"""What must hold for any label space, id, relation and configuration, not only for those that somebody thought of."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.configuration import dump, merge, set_key
from multiseg.datasets.base import leaves_root, read_mask
from multiseg.errors import MultisegError
from multiseg.evaluation.panoptic_files import PanopticWriter
from multiseg.label_space import IGNORE, LabelClass, LabelSpace, disjoint_union, pack_colors, same_name, union_by_name
from multiseg.run_folder import RunFolder
from multiseg.taxonomy.relations import RELATIONS, Relation, read_relations, remap_by_name, write_relations

quick = settings(max_examples=20, deadline=None, derandomize=True)

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
RAW = st.integers(0, 2**24 - 1)
COLOR = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def spaces(draw: st.DrawFn, name: str = "a", names: st.SearchStrategy[str] = TEXT) -> LabelSpace:
    """Classes of any names, with any ids, several or none each; some ids are ignored."""
    chosen = draw(st.lists(names, min_size=1, max_size=8, unique_by=same_name))
    ids = draw(st.lists(RAW, min_size=len(chosen) + 1, max_size=30, unique=True))
    owner = [*range(len(chosen) + 1), *(draw(st.integers(0, len(chosen))) for _ in ids[len(chosen) + 1 :])]
    own: list[list[int]] = [[] for _ in range(len(chosen) + 1)]
    for raw, place in zip(ids, owner, strict=True):
        own[place].append(raw)
    classes = tuple(
        LabelClass(text, tuple(raw), draw(COLOR), draw(st.booleans()))
        for text, raw in zip(chosen, own[:-1], strict=True)
    )
    return LabelSpace(name, classes, tuple(own[-1]))


# Label spaces


@quick
@given(spaces())
def test_a_label_space_survives_json(space: LabelSpace) -> None:
    assert LabelSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


@quick
@given(spaces(), st.randoms(use_true_random=False))
def test_raw_ids_map_like_a_dictionary_and_back(space: LabelSpace, random: Any) -> None:
    meaning = {raw: index for index, entry in enumerate(space.classes) for raw in entry.raw_ids}
    meaning |= dict.fromkeys(space.ignore_ids, IGNORE)
    pixels = np.array([[random.choice(sorted(meaning)) for _ in range(9)] for _ in range(3)], np.int32)
    labels = space.from_raw(pixels)
    assert labels.tolist() == [[meaning[raw] for raw in row] for row in pixels.tolist()]
    again = space.from_raw(space.to_raw(labels, ignore_raw=space.ignore_ids[0]))
    assert (again == labels).all()


@quick
@given(spaces(), st.lists(RAW, min_size=1, max_size=5))
def test_an_unknown_id_is_always_refused(space: LabelSpace, others: list[int]) -> None:
    known = {raw for entry in space.classes for raw in entry.raw_ids} | set(space.ignore_ids)
    unknown = [raw for raw in others if raw not in known]
    if unknown:
        with pytest.raises(MultisegError, match=str(unknown[0]) if len(set(unknown)) == 1 else "unknown|no class"):
            space.from_raw(np.array([unknown], np.int32))


@quick
@given(spaces("a", st.sampled_from("abcdefgh")), spaces("b", st.sampled_from("efghijAB")))
def test_unions_keep_every_class_of_every_dataset(first: LabelSpace, second: LabelSpace) -> None:
    for make in (disjoint_union, union_by_name):
        union = make([first, second])
        for space in (first, second):
            every = np.arange(len(space), dtype=np.int16)
            there = union.to_union(every, space.name)
            assert len(set(there.tolist())) == len(space) and there.min() >= 0 and there.max() < len(union.space)
            assert union.to_union(np.array([IGNORE], np.int16), space.name).tolist() == [IGNORE]
            if make is union_by_name:
                names = [same_name(union.space.names[index]) for index in there]
                assert names == [same_name(name) for name in space.names]


@quick
@given(spaces("a", st.sampled_from("abcdefgh")), spaces("b", st.sampled_from("efghijAB")))
def test_a_remapping_by_name_keeps_names_or_ignores(first: LabelSpace, second: LabelSpace) -> None:
    shared = {same_name(name) for name in first.names} & {same_name(name) for name in second.names}
    if not shared:
        with pytest.raises(MultisegError, match="share no class name"):
            remap_by_name(first, second)
        return
    remapping = remap_by_name(first, second)
    mapped = remapping(np.array([[*range(len(first)), IGNORE]], np.int16))[0].tolist()
    assert mapped[-1] == IGNORE
    for name, index in zip(first.names, mapped, strict=False):
        assert (same_name(name) in shared) == (index != IGNORE)
        assert index == IGNORE or same_name(second.names[index]) == same_name(name)


# Panoptic ids


@quick
@given(arrays(np.uint8, (4, 5, 3)))
def test_a_panoptic_id_is_its_colour_in_base_256(colors: np.ndarray) -> None:
    packed = pack_colors(colors)
    for row, column in np.ndindex(packed.shape):
        red, green, blue = colors[row, column].tolist()
        number = int(packed[row, column])
        assert number == red + 256 * green + 65536 * blue
        assert (number % 256, number // 256 % 256, number // 65536) == (red, green, blue)


@quick
@given(spaces(), st.data())
def test_segments_survive_their_files(space: LabelSpace, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 300))
    ids = data.draw(arrays(np.int16, (6, 7), elements=st.integers(IGNORE, count - 1)))
    classes = torch.tensor(data.draw(st.lists(st.integers(0, len(space) - 1), min_size=count, max_size=count)))
    segments = Segments(tv_tensors.Mask(torch.from_numpy(ids)), classes, torch.zeros(count, dtype=torch.bool))
    with tempfile.TemporaryDirectory() as folder:
        writer = PanopticWriter(Path(folder), space)
        png = writer.add("street/a.jpg", segments)
        (annotation,) = json.loads(writer.write().read_text())["annotations"]
        written = read_mask(png, as_colors=True)
    assert (written == ids + 1).all()
    category = {entry["id"]: entry["category_id"] for entry in annotation["segments_info"]}
    raw_of = [entry.raw_ids[0] for entry in space.classes]
    assert category == {place + 1: raw_of[classes[place]] for place in np.unique(ids[ids >= 0]).tolist()}
    assert {entry["id"]: entry["area"] for entry in annotation["segments_info"]} == {
        place + 1: int((ids == place).sum()) for place in np.unique(ids[ids >= 0]).tolist()
    }


# Relations


@quick
@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(sorted(RELATIONS)), TEXT, TEXT), max_size=6))
def test_relations_survive_their_file(rows: list[tuple[str, str, Any, str, str]]) -> None:
    unique: dict[frozenset[tuple[str, str]], Relation] = {}
    for start, start_class, kind, end, end_class in rows:
        if not start.startswith("#") and start != end:
            unique.setdefault(
                frozenset({(start, start_class), (end, end_class)}), Relation(start, start_class, kind, end, end_class)
            )
    relations = list(unique.values())
    with tempfile.TemporaryDirectory() as folder:
        write_relations(Path(folder) / "relations.tsv", relations)
        assert read_relations(Path(folder) / "relations.tsv") == relations


# Configurations and run folders

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
SECTIONS = st.fixed_dictionaries(
    {}, optional={name: st.dictionaries(TEXT, VALUES, max_size=4) for name in ("method", "init", "trainer")}
)


@quick
@given(SECTIONS)
def test_a_configuration_survives_its_file(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.write_config(config)
        assert run.read_config() == config
    assert yaml.safe_load(dump(config)) == config


@quick
@given(SECTIONS, SECTIONS, SECTIONS)
def test_composing_is_associative_and_the_last_one_wins(first: Any, second: Any, third: Any) -> None:
    assert merge(first, first) == first == merge(first, {})
    together = merge(first, second)
    for section, keys in second.items():
        for key, value in keys.items():
            if not isinstance(value, dict):
                assert together[section][key] == value
    assert set(together) == set(first) | set(second)
    assert merge(merge({}, second), third) == merge(second, third)


@quick
@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=4), VALUES)
def test_a_key_of_the_command_line_is_set_and_nothing_else(keys: list[str], value: Any) -> None:
    config: dict[str, Any] = {"trainer": {"other": 1}}
    set_key(config, ".".join(["trainer", *(f"k_{key}" for key in keys)]), yaml.safe_dump(value, allow_unicode=True))
    node: Any = config["trainer"]
    assert node.pop("other") == 1
    for key in keys:
        (only,) = node.items()
        assert only[0] == f"k_{key}"
        node = only[1]
    assert node == value


SCORE = st.none() | st.floats(0, 100)


@quick
@given(
    st.dictionaries(
        TEXT,
        st.fixed_dictionaries(
            {"mIoU": SCORE, "pixel_accuracy": SCORE, "per_class": st.dictionaries(TEXT, st.floats(0, 100))}
        ),
        max_size=3,
    ),
    st.integers(0, 10**9),
)
def test_metrics_survive_their_file(datasets: dict[str, Any], step: int) -> None:
    metrics = {"method": "mdp", "step": step, "datasets": datasets, "mean": {}}
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.write_metrics(metrics)
        assert run.read_metrics() == metrics


# Paths


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["a", "..", ".", "", "C:", "b c", "\\", "...", "~"]), max_size=5), st.sampled_from("/\\")
)
def test_no_path_that_is_let_in_leads_out(parts: list[str], separator: str) -> None:
    path = separator.join(parts)
    if not leaves_root(path):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            assert (root / path).resolve().is_relative_to(root)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "C:x", "\\x", "a\\..\\..\\x", "\\\\host\\x", "a\0b"]
)
def test_paths_that_lead_out(path: str) -> None:
    assert leaves_root(path)
