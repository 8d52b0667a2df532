"""The classes of a description and its text, with comments by which a person recognises what is what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import yaml

from multiseg.datasets.base import pack_color
from multiseg.label_space import same_name
from multiseg.wizard.census import Census, Color, Value, unpacked
from multiseg.wizard.class_names import NamedClass
from multiseg.wizard.layout import Layout
from multiseg.wizard.splits import SplitPlan

#: Names of what was not labelled. "background" is none of them: mostly it was looked at, and is a class.
_VOID = {
    *("void", "unlabeled", "unlabelled", "ignore", "ignored", "unknown", "undefined", "unannotated", "dont care"),
    *("don't care", "not labeled", "not labelled", "no label", "out of roi", "ignore label"),
}


@dataclass(frozen=True)
class Entry:
    """A class of the description, or values that are ignored.

    Args:
        name: of the class; of what is ignored, where it has one.
        raws: ids, or colours as `pack_color` has them.
        color: for pictures; None to leave it to the reader.
        thing: whether it can be counted.
        ignored: whether it takes no part in training.
        why: why it is ignored or not, where that was a guess.
    """

    name: str
    raws: tuple[int, ...]
    color: Color | None = None
    thing: bool = False
    ignored: bool = False
    why: str = ""


def named_by(names: Sequence[NamedClass], census: Census) -> dict[int, NamedClass]:
    """What a file of names says about the values of masks, by the way of matching that names most of them."""
    found = {value.raw for value in census.values}
    by_color = {pack_color(entry.color): entry for entry in names if entry.color is not None}
    if census.as_colors:
        return by_color
    # a palette goes on to 255 with colours that nobody chose: of one colour the index that occurs counts, or the first
    index_of = {color: raw for raw, color in reversed(census.palette.items())}
    used = {raw: color for raw, color in census.palette.items() if raw in found}
    chosen = {raw: color for color, raw in index_of.items() if color not in used.values()} | used
    own = {raw: by_color[pack_color(color)] for raw, color in chosen.items() if pack_color(color) in by_color}
    ways = [{entry.id: entry for entry in names}, own]
    if not any(entry.is_stated for entry in names):
        # the order is the last thing to go by; names for values from 1 on leave 0 to what has no name
        ways = [own, *ways]
        if max(found - {255}, default=0) == len(names):
            ways.insert(1, {entry.id + 1: entry for entry in names})
    return max(ways, key=lambda way: len(found & way.keys()))


def entries_of(census: Census, names: Mapping[int, NamedClass]) -> list[Entry]:
    """Every value that occurs or has a name, as a class or as ignored, in the order of the file.

    Args:
        census: what masks hold.
        names: by value.
    """
    seen = [value.raw for value in census.values]
    raws = [*names, *(raw for raw in seen if raw not in names)] if census.as_colors else sorted({*names, *seen})
    guesses = _ignored(census, names)
    unsure = {0} if census.as_colors else {0, 255}
    merged: dict[tuple[str, bool], Entry] = {}
    for raw in raws:
        entry = _entry(raw, census, names.get(raw))
        if raw in guesses:
            entry = replace(entry, ignored=True, why=guesses[raw])
        elif raw in unsure and raw not in names:
            entry = replace(entry, why="not labelled? then move it to `ignore`")
        same = merged.get((same_name(entry.name), entry.ignored))
        merged[same_name(entry.name), entry.ignored] = (
            entry if same is None else replace(same, raws=(*same.raws, raw), thing=same.thing or entry.thing)
        )
    return list(merged.values())


def _entry(raw: int, census: Census, named: NamedClass | None) -> Entry:
    own = unpacked(raw) if census.as_colors else census.palette.get(raw)
    if named:
        return Entry(named.name, (raw,), own or named.color, bool(named.thing))
    if raw == 0 and (census.as_colors or census.palette or len(census.values) == 2):
        return Entry("background", (0,), own)
    if census.as_colors:
        return Entry("color_{:02x}{:02x}{:02x}".format(*unpacked(raw)), (raw,), own)
    return Entry(f"class_{raw}", (raw,), own)


def _ignored(census: Census, names: Mapping[int, NamedClass]) -> dict[int, str]:
    """The values that are probably left out on purpose, and why."""
    guesses = {}
    for raw, entry in names.items():
        if entry.ignored or same_name(entry.name) in _VOID:
            guesses[raw] = f"called '{entry.name}'"
    shares = {value.raw: value.pixels / census.pixels for value in census.values}
    rest = sorted(shares.keys() - {255})
    # 0 and 255 are black and white; 1, 2, 5, 255 are classes and a mark; 0, 127, 255 are shades
    is_mark = 255 in shares and 255 not in names and rest not in ([], [0]) and rest[-1] <= 3 * len(rest) + 8
    if not census.as_colors and is_mark:
        guesses[255] = "255 is the usual mark"
    if census.as_colors and 0 in shares and 0 not in names and len(shares) > 3 and shares[0] < 0.3:
        guesses[0] = "black is the usual mark"
    return guesses if len(guesses) < len({*shares, *names}) else {}


# The text


def to_yaml(name: str, layout: Layout, plan: SplitPlan, census: Census, entries: Sequence[Entry]) -> str:
    """The text of a dataset.yaml."""
    return "\n".join([*_head(name, census), *_files(layout, plan), "", *_classes(census, entries), ""])


def _head(name: str, census: Census) -> Iterator[str]:
    yield "# Written by `multiseg datasets init`, for you to edit: names, what is a thing, what is ignored."
    yield f"# {census.read} of {census.total} masks were read. Behind classes: their share of all pixels, in how many"
    yield "# masks they occur, and the mask with most of them."
    if census.read < census.total:
        yield "# What is rare may be missing: `multiseg datasets check` finds it."
    yield f"name: {_scalar(name)}"
    yield ""


def _files(layout: Layout, plan: SplitPlan) -> Iterator[str]:
    if plan.folders:
        for key, folder in zip(("images", "masks"), plan.folders, strict=True):
            yield f"{key}: {_scalar(folder)}"
    for key, suffix in (("image_suffix", layout.image_suffix), ("mask_suffix", layout.mask_suffix)):
        if suffix:
            yield f"{key}: {_scalar(suffix)}"
    if layout.images_alone or layout.masks_alone:
        alone = f"{layout.images_alone} images have no mask, {layout.masks_alone} masks have no image"
        yield f"skip_unpaired: true  # {alone}"
    yield "splits:  # trained on the first, evaluated on the second"
    for split, source in plan.splits.items():
        if isinstance(source, tuple):
            text = f"{{images: {_scalar(source[0])}, masks: {_scalar(source[1])}}}"
        elif isinstance(source, float):
            text = f"{source:g}"
        else:
            text = source if source == "rest" else f"{{list: {_scalar(source)}}}"
        yield f"  {_scalar(split)}: {text}"
    if plan.has_shares:
        yield f"seed: {plan.seed}  # another one, another draw"
    if plan.group:
        yield f"group: {_scalar(plan.group)}  # the images of one folder stay together: neighbours look alike"
    if plan.hint:
        yield f"# group: {_scalar(plan.hint)}  # keeps together what differs in its last number only: frames of a film"


def _classes(census: Census, entries: Sequence[Entry]) -> Iterator[str]:
    if census.as_colors:
        yield "encoding: colors"
    values = {value.raw: value for value in census.values}
    classes = [(_class_line(entry, census.as_colors), entry) for entry in entries if not entry.ignored]
    ignored = [
        (_ignore_line(raw, census.as_colors), raw, entry) for entry in entries if entry.ignored for raw in entry.raws
    ]
    width = min(max(len(line) for line in [*(line for line, _ in classes), *(line for line, *_ in ignored)]), 80)
    yield "classes:  # add `thing: true` to what can be counted"
    for line, entry in classes:
        seen = [values[raw] for raw in entry.raws if raw in values]
        yield _with_comment(line, [entry.why, _share(seen, census)], width)
    yield "ignore:  # left out of training and scores" if ignored else "ignore: []"
    for line, raw, entry in ignored:
        seen = [values[raw]] if raw in values else []
        yield _with_comment(line, [entry.why, _share(seen, census)], width)


def _class_line(entry: Entry, as_colors: bool) -> str:
    parts = [f"name: {_scalar(entry.name)}"]
    if as_colors:
        colors = [str(list(unpacked(raw))) for raw in entry.raws]
        parts.append(f"color: {colors[0]}" if len(colors) == 1 else f"color: [{', '.join(colors)}]")
    else:
        parts.append(f"id: {entry.raws[0] if len(entry.raws) == 1 else list(entry.raws)}")
        parts += [f"color: {list(entry.color)}"] if entry.color else []
    parts += ["thing: true"] if entry.thing else []
    return f"  - {{{', '.join(parts)}}}"


def _ignore_line(raw: int, as_colors: bool) -> str:
    return f"  - {list(unpacked(raw)) if as_colors else raw}"


def _with_comment(line: str, remarks: Sequence[str], width: int) -> str:
    text = "; ".join(remark for remark in remarks if remark)
    return f"{line:{width}}  # {text}"


def _share(values: Sequence[Value], census: Census) -> str:
    if not values:
        return "not in the masks that were read"
    share = 100 * sum(value.pixels for value in values) / census.pixels
    most = max(values, key=lambda value: value.most)
    masks = str(most.masks) if len(values) == 1 else f"up to {sum(value.masks for value in values)}"
    where = f"{printable(most.example)} ({_percent(100 * most.most)})"
    return f"{_percent(share)}, in {masks} mask{'' if masks == '1' else 's'}, most in {where}"


def _percent(share: float) -> str:
    return f"{share:.1f} %" if share >= 0.05 else f"{share:.2g} %"


def printable(text: str) -> str:
    """Text for people: a file name may hold line ends, or bytes that are no text."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _scalar(text: str) -> str:
    """Text as YAML has it within braces, in quotes where it needs some."""
    line = yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=2**31)
    return line.strip().removeprefix("[").removesuffix("]")
