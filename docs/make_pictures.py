"""Draws the pictures of README and documentation from a finished demo: `python docs/make_pictures.py demo`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from multiseg.commands.evaluating import own_datasets
from multiseg.demo import DATASETS
from multiseg.evaluation.overlays import legend, overlay, panel, with_legend
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder

ASSETS = Path(__file__).parent / "assets"
HEIGHT = 220
PICTURE = {"street": 12, "square": 5, "harbour": 9}  # of the validation split


def main(demo: Path) -> None:
    """One row a dataset: image, truth, its own model, the model for all."""
    multi = Predictor.from_run(RunFolder(demo / "runs" / "multi"))
    rows = []
    for name in DATASETS:
        run = RunFolder(demo / "runs" / f"single_{name}")
        dataset = own_datasets(run)[name]
        sample = dataset[PICTURE[name]]
        maps = {
            f"{name}: truth": sample.labels.numpy(),
            "its own model": Predictor.from_run(run).predict(sample.image, name).numpy(),
            "one model for all": multi.predict(sample.image, name).numpy(),
        }
        columns = [(name, Image.fromarray(sample.image.permute(1, 2, 0).numpy()))]
        columns += [(title, overlay(sample.image, labels, sample.space, 0.7)) for title, labels in maps.items()]
        large = [(t, p.resize((p.width * HEIGHT // p.height, HEIGHT), Image.Resampling.LANCZOS)) for t, p in columns]
        rows.append(with_legend(panel(large), legend(sample.space, list(maps.values()), HEIGHT)))
    page = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height
    ASSETS.mkdir(exist_ok=True)
    page.quantize(256).save(ASSETS / "demo.png", optimize=True)  # a fifth of the bytes, and no eye sees it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
