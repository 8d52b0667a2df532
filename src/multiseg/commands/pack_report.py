"""`multiseg datasets pack`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from multiseg.commands.opening import open_unnamed
from multiseg.console import counting_bar, results, say
from multiseg.errors import MultisegError
from multiseg.packing import WrittenSplit, pack
from multiseg.roots import as_written


def pack_datasets(
    arguments: Sequence[str], out: str, splits: Sequence[str], shard_megabytes: int, as_json: bool
) -> int:
    """`multiseg datasets pack`: each dataset to a place of its own below `out`.

    Raises:
        MultisegError: a dataset cannot be opened or read, or something lies where it is to go.
    """
    if shard_megabytes < 1:
        raise MultisegError(f"--shard-size is in megabytes and at least 1, not {shard_megabytes}.")
    opened = open_unnamed(arguments, splits)  # all of them first: a misspelt one must not show after hours
    written: dict[str, dict[str, object]] = {}
    for name, parts in opened.items():
        target = f"{as_written(out)}/{name}"
        with counting_bar(name, sum(len(part) for part in parts)) as advance:
            done = pack(
                parts, target, shard_megabytes * 1_000_000, advance, lambda line: say(f"cannot be packed: {line}")
            )
        written[name] = {"root": target, "splits": [asdict(split) for split in done]}
        if not as_json:
            for split in done:
                results.print(_line(name, split), markup=False)
            results.print(f"{name}: packed; use it as --data {name}={target}", markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps(written, ensure_ascii=False))
    return 0


def _line(name: str, split: WrittenSplit) -> str:
    shards = f"{split.shards} shard{'s' * (split.shards != 1)}"
    return f"{name}/{split.split}: {split.images} images, {split.bytes / 1e6:.1f} MB in {shards}"
