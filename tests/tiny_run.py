"""A run that takes seconds."""

from pathlib import Path


def arguments(roots: dict[str, Path]) -> list[str]:
    """Arguments of `multiseg train` for the datasets of `conftest.roots`, but for the recipe and --run."""
    return [
        *["--data", f"town={roots['town']}", "--data", f"park={roots['park']}"],
        *["--steps", "8", "--batch-size", "2", "--trainer.val_every", "4", "--trainer.log_every", "1"],
        *["--trainer.precision", "32-true", "--data.workers", "0", "--devices", "1"],
        *["--data.pipeline", "{long_side: 64, crop: [32, 48]}"],
        *[
            "--method.network.backbone",
            "{class_path: multiseg.networks.backbone.Backbone, init_args: {name: test_resnet, output_stride: 32}}",
        ],
        *["--method.network.decoder.channels", "16", "--method.network.decoder.bins", "[1, 2]"],
    ]
