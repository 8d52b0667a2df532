"""The real datasets, where the environment variable MULTISEG_DATA names the folder that holds them."""

import os
from pathlib import Path

import pytest

from multiseg.datasets import find_reader
from multiseg.inspection.checking import check_dataset

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets"),
]

COUNTS = [
    ("camvid", "camvid", "train", 367),
    ("camvid", "camvid", "val", 101),
    ("camvid", "camvid", "test", 233),
    ("idd_lite", "idd_lite", "train", 1403),
    ("idd_lite", "idd_lite", "val", 204),
    ("labelmefacade", "labelmefacade", "train", 100),
    ("labelmefacade", "labelmefacade", "test", 845),
    ("labelmefacade_swapped", "labelmefacade", "train", 845),
    ("labelmefacade_swapped", "labelmefacade", "val", 100),
]


@pytest.mark.parametrize(("reader", "folder", "split", "count"), COUNTS)
def test_the_official_counts_and_no_fault(reader, folder, split, count):
    root = Path(os.environ["MULTISEG_DATA"]) / folder
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    dataset = find_reader(reader)(root, split)
    assert len(dataset) == count
    report = check_dataset(dataset)
    assert report.problems == (), str(report)
