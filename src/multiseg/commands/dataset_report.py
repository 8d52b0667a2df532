"""What `multiseg datasets stats` shows of datasets: a table, a chart of the classes, a sheet of pictures."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from multiseg.batch import Sample
from multiseg.commands.opening import open_named, open_splits
from multiseg.console import progress_bar, results, say
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.class_chart import percent, write_class_chart
from multiseg.evaluation.contact_sheet import contact_sheet
from multiseg.inspection.checking import CheckReport
from multiseg.inspection.passing import evenly_spread
from multiseg.inspection.statistics import SplitStatistics, cover_classes, gather_statistics

#: Pictures on a contact sheet: as many as show every class, but no fewer and no more than these.
_LEAST_PICTURES, _MOST_PICTURES = 12, 40

#: So many names of classes that never occur are shown.
_MOST_NAMES = 30


def count_datasets(
    arguments: Sequence[str],
    splits: Sequence[str] | None,
    limit: int | None,
    workers: int | None,
    out: Path | None,
    pictures: int | None,
    as_json: bool,
) -> int:
    """`multiseg datasets stats`.

    Args:
        arguments: NAME=ROOT of each dataset.
        splits: of each dataset; by default the one trained on.
        limit: read only so many masks of each.
        workers: threads.
        out: folder for pictures; without it none are made.
        pictures: on each contact sheet.
        as_json: print JSON.

    Returns:
        1 where a mask could not be read, and so is missing from the figures.
    """
    if pictures is not None and pictures < 1:
        raise MultisegError(f"a contact sheet has at least 1 picture, not {pictures}.")
    parts = _open(arguments, splits)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # an error now, not after minutes of counting
    gathered: list[SplitStatistics] = []
    for part in parts:
        with progress_bar(f"{part.name} {part.split}", len(evenly_spread(len(part), limit))) as advance:
            statistics = gather_statistics(part, workers, lambda done, _total: advance(done), limit)
        gathered.append(statistics)
        if not as_json:
            _print_statistics(f"{part.name}/{part.split}", statistics)
        if part.split in part.withheld_splits:
            say(f"{part.name} {part.split}: these are dummies, the true labels are withheld.")
        if statistics.unreadable:
            say(
                f"{part.name} {part.split}: {statistics.unreadable} {'masks' if part.labelled else 'images'} "
                "cannot be read and are left out, the first: "
                f"{statistics.first_unreadable}\nTo see all: multiseg datasets check {part.name}={part.location}"
            )
        if out is not None:
            for path in draw(part, statistics, out, pictures):
                say(f"wrote {path}")
    if as_json:
        print(json.dumps([statistics.to_json() for statistics in gathered], ensure_ascii=False))
    return 1 if any(statistics.unreadable for statistics in gathered) else 0


def _print_statistics(title: str, statistics: SplitStatistics) -> None:
    results.print(f"{title}: {figures(statistics)}", markup=False, soft_wrap=True)
    if statistics.classes:
        results.print(class_table(statistics))
    if never := [entry.name for entry in statistics.classes if not entry.images]:
        more = f", … and {len(never) - _MOST_NAMES} more" if len(never) > _MOST_NAMES else ""
        text = f"never ({len(never)}): {', '.join(never[:_MOST_NAMES])}{more}"
        results.print(text, markup=False, soft_wrap=True)


def _open(arguments: Sequence[str], splits: Sequence[str] | None) -> list[SegmentationDataset]:
    if splits is None:
        return list(open_named(arguments, "train").values())
    parts = []
    for part in open_splits(arguments, splits):
        if isinstance(part, CheckReport):
            raise MultisegError(part.problems[0].examples[0])
        parts.append(part)
    return parts


def figures(statistics: SplitStatistics) -> str:
    """The figures of a split as a whole, in one line."""
    facts = [f"{statistics.images} images"]
    if statistics.counted < statistics.images:
        facts.append(f"{statistics.counted} of them read")
    facts.append(_sizes_text(statistics))
    ignored = f"{percent(statistics.ignored_share)} % of the pixels ignored"
    facts.append(ignored if statistics.classes else "no labels")
    if statistics.segments is not None:
        facts.append(
            f"{statistics.segments / statistics.counted:.1f} things an image, {statistics.most_segments} at most"
        )
        facts.append(f"{statistics.crowds} crowds")
    return ", ".join(facts)


def _sizes_text(statistics: SplitStatistics) -> str:
    """Width × height of all, or of the smallest, the largest and the most common image."""
    by_area = sorted(statistics.sizes, key=lambda entry: (entry[0] * entry[1], entry))
    (small_height, small_width, _), (large_height, large_width, _) = by_area[0], by_area[-1]
    if len(by_area) == 1:
        return f"{small_width}×{small_height}"
    height, width, count = statistics.sizes[0]
    return (
        f"{small_width}×{small_height} to {large_width}×{large_height}, "
        f"most often {width}×{height} ({percent(count / statistics.counted)} %)"
    )


def class_table(statistics: SplitStatistics) -> Table:
    """One row for each class that occurs, that with most pixels first."""
    columns = ["class", "% of pixels", "% of images", "images", "% of an image"]
    panoptic = statistics.segments is not None
    table = Table(*columns, *(["things", "an image"] if panoptic else []), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    occurring = [entry for entry in statistics.classes if entry.images]
    for entry in sorted(occurring, key=lambda entry: -entry.pixels):
        row = [percent(entry.pixel_share), percent(entry.image_share), str(entry.images), percent(entry.mean_area)]
        if panoptic:
            things = entry.segments
            row += ["", ""] if things is None else [str(things), f"{things / entry.images:.1f}"]
        table.add_row(Text(entry.name), *row)  # brackets in a name are no markup
    return table


def draw(dataset: SegmentationDataset, statistics: SplitStatistics, out: Path, pictures: int | None) -> Iterator[Path]:
    """Writes the chart and the contact sheet of a split; a chart only where there are classes.

    Args:
        dataset: the split.
        statistics: of it.
        out: folder.
        pictures: on the sheet; by default as many as show every class, within bounds.

    Yields:
        the path of each file once it is written.
    """
    stem = f"{dataset.name}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', dataset.split)}"
    classes = statistics.classes
    title = f"{dataset.name}/{dataset.split}"
    if classes:
        chart = out / f"{stem}_classes.png"
        shares = [entry.pixel_share for entry in classes], [entry.image_share for entry in classes]
        write_class_chart(chart, title, figures(statistics), dataset.label_space, *shares)
        yield chart
    sheet = out / f"{stem}_sheet.png"
    places = cover_classes(statistics, pictures or _LEAST_PICTURES, pictures or _MOST_PICTURES)
    occur = sum(entry.images > 0 for entry in classes)
    remark = f"{len(places)} of {statistics.images} images"
    remark += (
        f", on which {statistics.classes_in(places)} of the {occur} classes that occur can be found. "
        "Where there is no colour, pixels are ignored."
        if classes
        else ", without labels."
    )
    with progress_bar(f"{dataset.name} {dataset.split} sheet", len(places)) as advance:
        samples = _read_images(dataset, places, advance)
        if (first := next(samples, None)) is None:
            return
        picture = contact_sheet(itertools.chain([first], samples), dataset.label_space, title, remark)
    picture.save(sheet)
    yield sheet


def _read_images(
    dataset: SegmentationDataset, places: Sequence[int], advance: Callable[[int], None]
) -> Iterator[Sample]:
    """The samples that can be read. Masks can, by now; that an image cannot is said."""
    for done, place in enumerate(places, 1):
        try:
            yield dataset[place]
        except MultisegError as error:
            say(f"not on the sheet: {error}")
        advance(done)
