"""Readers are found by lying in this package: nothing lists them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from multiseg.datasets.base.dataset import SegmentationDataset
from multiseg.errors import MultisegError, did_you_mean


@cache
def all_readers() -> dict[str, type[SegmentationDataset]]:
    """Every reader of this package by its command-line name, from the modules that lie in it."""
    package = importlib.import_module("multiseg.datasets")
    readers: dict[str, type[SegmentationDataset]] = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"multiseg.datasets.{module_info.name}")
        for member in vars(module).values():
            if inspect.isclass(member) and issubclass(member, SegmentationDataset) and not inspect.isabstract(member):
                readers[member.reader] = member
    return dict(sorted(readers.items()))


def find_reader(name: str) -> type[SegmentationDataset]:
    """A reader by its command-line name.

    Raises:
        MultisegError: there is none; the message names the nearest.
    """
    readers = all_readers()
    if name not in readers:
        raise MultisegError(f"no dataset reader '{name}'; {did_you_mean(name, readers)}")
    return readers[name]
