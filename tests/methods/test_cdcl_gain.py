"""What CDCL is for: one network for datasets that look different, in less than a minute."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiseg.cli import main
from multiseg.synthetic import write_datasets

SETTINGS = {
    "shared norms, mixed batches": ["multi_head", "--data.total_batch_size", "4"],
    "shared norms, alternation": [
        "multi_head", "--data.plan", "{class_path: multiseg.loading.sampling.Alternating}",
    ],
    "CDCL": ["cdcl"],
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A square, and another whose pictures are dark negatives."""
    folder = tmp_path_factory.mktemp("gain")
    made = {}
    for seed, name in enumerate(["positive", "negative"]):
        options = {"images": 24, "val_images": 12, "size": (64, 96), "seed": seed}
        made[name] = write_datasets(folder / name, domains=["square"], **options)["square"]
    for file in (made["negative"] / "images").rglob("*.*"):
        Image.fromarray((0.35 * (255 - np.asarray(Image.open(file)))).astype(np.uint8)).save(file)
    return made


@pytest.mark.slow
def test_norms_of_their_own_and_alternation_beat_shared_norms(roots: dict[str, Path], tmp_path: Path) -> None:
    """As many images an update in mixed batches as in a turn, and as many updates: Table 3 in small."""
    network = [
        *["--method.network.backbone.name", "test_resnet", "--method.network.auxiliary", "null"],
        *["--method.network.decoder.channels", "32", "--method.network.decoder.bins", "[1, 2]"],
    ]
    common = [
        *["--steps", "150", "--batch-size", "4", "--data.workers", "0", "--trainer.val_every", "150", "--quiet"],
        *["--trainer.precision", "32-true", "--devices", "1", "--method.sum_datasets", "true", *network],
        *["--data.pipeline", "{long_side: 96, crop: [48, 64], scale: [0.8, 1.25]}"],
        *[word for name, root in roots.items() for word in ("--data", f"{name}:folder={root}")],
    ]
    mean = {}
    for number, (name, setting) in enumerate(SETTINGS.items()):
        run = tmp_path / str(number)
        assert main(["train", *setting, *common, "--run", str(run)]) == 0
        mean[name] = json.loads((run / "metrics.json").read_text())["mean"]["mIoU"]
    print(mean)
    assert mean["CDCL"] > 1.5 + max(mean["shared norms, mixed batches"], mean["shared norms, alternation"]), mean
