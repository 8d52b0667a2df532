"""LMSeg learns to find segments: a synthetic harbour, from random weights."""

import json
from pathlib import Path

import pytest

from multiseg.cli import main


@pytest.mark.slow
def test_half_of_what_can_be_had_on_pictures_never_seen(tmp_path: Path) -> None:
    """A quarter of an hour on two cores. 300 pictures to learn from; quay, water, backdrop, ships, containers, people
    and vehicles to be found in others.
    """
    data = tmp_path / "data"
    assert main(["synth", str(data), "--images", "300", "--layouts", "panoptic"]) == 0
    run = tmp_path / "run"
    arguments = [
        *["--data", f"harbour:panoptic={data / 'panoptic'}", "--steps", "2400", "--run", str(run), "--quiet"],
        *["--method.panoptic", "true", "--method.mask_decoder.queries", "40"],
        *["--method.thresholds", "{confidence: 0.5, overlap: 0.5}"],
        *["--data.pipeline", "{long_side: 240, crop: [160, 224], scale: [0.9, 1.4]}"],
    ]
    assert main(["train", "lmseg", *arguments]) == 0
    scores = json.loads((run / "metrics.json").read_text())["datasets"]["harbour"]
    assert scores["PQ"] >= 50
