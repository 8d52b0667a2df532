"""Scenes written in official layouts are what the readers of those datasets find."""

import numpy as np
import pytest

from multiseg.datasets import find_reader
from multiseg.label_space import IGNORE
from multiseg.synthetic import DOMAINS, render, write_datasets
from multiseg.synthetic.layouts import all_layouts

SIZE = (64, 88)

pytestmark = pytest.mark.parametrize("name", sorted(all_layouts()))


@pytest.fixture
def root(name, tmp_path):
    return write_datasets(tmp_path, images=2, val_images=1, domains=[name], size=SIZE)[name]


def test_the_reader_finds_the_scenes(name, root):
    layout = all_layouts()[name]
    reader = find_reader(name)
    for split, count in (("train", 2), ("val", 1)):
        dataset = reader(root, layout.splits[split])
        assert len(dataset) == count
        for index in range(count):
            scene = render(DOMAINS[layout.domain], 0, index, SIZE, split)
            expected = dataset.label_space.from_raw(layout.table[scene.classes])
            sample = dataset[index]
            np.testing.assert_array_equal(sample.labels, expected)
            assert np.abs(sample.image.permute(1, 2, 0).numpy().astype(int) - scene.image).mean() < 12
            assert (expected != IGNORE).any()
            if sample.segments is not None:
                things = dataset.label_space.things
                pairs = np.stack([expected, np.where(things[expected], scene.instances, 0)], -1).reshape(-1, 2)
                distinct = np.unique(pairs[pairs[:, 0] != IGNORE], axis=0)
                assert sorted(sample.segments.classes.tolist()) == sorted(distinct[:, 0].tolist())
                assert not sample.segments.crowd.any()


def test_the_world_is_named_in_its_own_terms(name, root):
    layout = all_layouts()[name]
    space = find_reader(name)(root, layout.splits["train"]).label_space
    known = {raw for entry in space.classes for raw in entry.raw_ids} | set(space.ignore_ids)
    assert set(layout.raw_of_world.values()) | {layout.other} <= known
    assert len(set(layout.raw_of_world.values())) >= 4


def test_the_bytes_do_not_depend_on_the_time(name, root, tmp_path, monkeypatch):
    monkeypatch.setattr("time.asctime", lambda *_: "another day")
    again = write_datasets(tmp_path / "again", images=2, val_images=1, domains=[name], size=SIZE)[name]
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    assert files
    for file in files:
        assert (root / file).read_bytes() == (again / file).read_bytes(), file
