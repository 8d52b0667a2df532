"""Every method as a run that takes seconds, for what all of them must be able to do.

The data are unequal on purpose: `yard` has one image to train on and one to judge by.
"""

from pathlib import Path

import tiny_run
from multiseg.synthetic import write_datasets

#: Images to train on and to judge by.
SIZES = {"town": (9, 5), "park": (5, 3), "yard": (1, 1)}
CLASSES = {"town": ["road", "car", "sky"], "park": ["tree", "sky"], "yard": ["car", "grass"]}

COMMON = [
    *["--steps", "3", "--data.total_batch_size", "8", "--trainer.val_every", "2", "--trainer.log_every", "1"],
    *["--trainer.precision", "32-true", "--data.workers", "0", "--data.eval_batch_size", "2"],
]
BACKBONE = ["--method.network.backbone"]
BACKBONE += ["{class_path: multiseg.networks.backbone.Backbone, init_args: {name: test_resnet, output_stride: 16}}"]
PYRAMID = ["--method.network.decoder"]
PYRAMID += ["{class_path: multiseg.networks.pyramid_pooling.PyramidPooling, init_args: "]
PYRAMID[1] += "{channels: 16, bins: [1, 2], dropout: 0.0}}"
POINTS = ["--method.network.decoder"]
POINTS += ["{class_path: multiseg.networks.hypercolumn.Hypercolumn, init_args: {channels: 16, points: 20}}"]
CROPS = ["--data.pipeline", "{long_side: 128, crop: [64, 96]}", *BACKBONE]
PIXELS = [*CROPS, *PYRAMID, "--method.network.auxiliary.dropout", "0"]
VIEWS = ["--data.views.size", "[64, 96]", "--method.projection_channels", "16", *BACKBONE, *PYRAMID]
MASKS = [*CROPS, "--method.network.decoder"]
MASKS += ["{class_path: multiseg.networks.pixel_decoder.PixelDecoder, init_args: {channels: 16, groups: 4}}"]
MASKS += ["--method.mask_decoder", "{queries: 8, layers: 2, width: 16, heads: 2, feedforward: 16, dropout: 0.0}"]
MIXED = ["--data.plan", "{class_path: multiseg.loading.sampling.Mixed}"]
TILES = ["--data.tiles", "{cell: 36, tile: 32}", "--method.permutations", "6", "--method.tile_channels", "16"]

#: The recipes of every method, what makes them small, and, where these are not all three, their datasets.
RUNS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "supervised": (["supervised", *PIXELS], ("town",)),
    "supervised, a single image": (["supervised", *PIXELS], ("yard",)),
    "multi_head": (["multi_head", *PIXELS], ()),
    "multi_head, accumulated": (["multi_head", *PIXELS, "--trainer.accumulate", "2"], ()),
    "multi_head, clipped": (["multi_head", *PIXELS, "--trainer.gradient_clip", "0.1"], ()),
    "multi_head, at points": (["multi_head", *CROPS, *POINTS, "--method.network.auxiliary.dropout", "0"], ()),
    "by_name": (["by_name", *PIXELS], ()),
    "label_remap": (["label_remap", *PIXELS], ()),
    "universal": (["universal", *PIXELS], ()),
    "cdcl": (["cdcl", *PIXELS], ()),
    "cdcl, unequal turns": (["cdcl", *PIXELS, "--data.plan.exponent", "1"], ()),
    "cdcl, mixed batches": (["cdcl", *PIXELS, *MIXED], ()),
    "mdp": (["mdp", *VIEWS, "--method.bank.batches", "2", "--method.coding", "{alpha: 0.5, count: 5}"], ()),
    "mdp, regions": (
        [
            *["mdp", *VIEWS, "--method.bank"],
            "{class_path: multiseg.losses.prototype_bank.RegionBank, init_args: {images: 10}}",
        ],
        (),
    ),
    "mdp, pixels": (["mdp", "pixel_to_pixel", *VIEWS], ()),
    "moco": (["moco", *VIEWS, "--method.queue", "16"], ()),
    "moco, a queue that a batch overflows": (["moco", *VIEWS, "--method.queue", "12"], ()),
    "maskformer": (["maskformer", *MASKS], ()),
    "maskformer_by_name": (["maskformer_by_name", *MASKS], ()),
    "lmseg": (["lmseg", *MASKS, "--method.prompt_length", "2"], ()),
    "lmseg, panoptic": (
        ["lmseg", *MASKS, "--method.prompt_length", "2", "--method.panoptic", "true"],
        ("street:cityscapes_panoptic", "town", "yard"),
    ),
    "jigsaw": (["jigsaw", *TILES, "--method.channels", "32", *BACKBONE, *PYRAMID], ()),
    "colorization": (["colorization", *CROPS, *POINTS, "--method.bins", "8"], ()),
    "mix_and_match": (
        [
            *["mix_and_match", "--data.patches", "{per_image: 4, size: [64, 64], sides: [16, 40]}"],
            *[*BACKBONE, *PYRAMID],
        ],
        (),
    ),
}


def write_data(root: Path) -> dict[str, Path]:
    """The datasets of `RUNS`, by what --data takes in front of the root."""
    for name, (train, val) in SIZES.items():
        tiny_run.write_dataset(root / name, name, CLASSES[name], {"train": train, "val": val})
    street = write_datasets(root, images=5, val_images=1, domains=["street"])["street"]
    return {**{name: root / name for name in SIZES}, "street:cityscapes_panoptic": street}


def arguments(name: str, roots: dict[str, Path]) -> list[str]:
    """Arguments of `multiseg` for one of `RUNS`, but for --run."""
    options, datasets = RUNS[name]
    data = [word for dataset in datasets or SIZES for word in ("--data", f"{dataset}={roots[dataset]}")]
    return ["train", *options, *COMMON, *data]
