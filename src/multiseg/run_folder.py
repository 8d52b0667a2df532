"""The folder of a run: the one place that knows what lies where in it.

RUN/config.yaml     everything resolved; can be trained again as it is
RUN/metrics.json    scores on every dataset, in percent
RUN/log.csv         the training log; TensorBoard event files lie beside it
RUN/checkpoints/    last.ckpt to resume from, previous.ckpt before it, best.ckpt
RUN/model/          model.safetensors and model.json: all that prediction needs; nothing executable
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import multiseg
from multiseg.configuration import Config, dump, read_recipe
from multiseg.errors import MultisegError
from multiseg.evaluation.panoptic_quality import PanopticScores
from multiseg.instantiation import build_method
from multiseg.label_space import LabelSpace
from multiseg.methods.base import SegmentationMethod

#: Of model.json. Raised when a reader of the old form would misread the new one.
MODEL_FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def log_path(self) -> Path:
        return self.path / "log.csv"

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def weights_path(self) -> Path:
        return self.path / "model" / "model.safetensors"

    @property
    def model_path(self) -> Path:
        return self.path / "model" / "model.json"

    def create(self) -> None:
        """Makes the folder; of a run that was killed, what it had written by halves is deleted.

        Raises:
            MultisegError: the folder cannot be made or written to.
        """
        try:
            for folder in (self.last_checkpoint.parent, self.model_path.parent):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.last_checkpoint.parent, self.model_path.parent):
                for path in folder.glob("*.partial"):
                    path.unlink()
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise MultisegError(f"cannot write into the run folder {self.path}: {error.strerror or error}.") from None

    def read_config(self) -> Config:
        """
        Raises:
            MultisegError: this is no run folder, or its configuration is damaged.
        """
        if not self.config_path.is_file():
            raise MultisegError(f"{self.path} is no run folder: it has no config.yaml.")
        return read_recipe(self.config_path)

    def write_config(self, config: Config) -> None:
        write_text(self.config_path, dump(config))

    def read_metrics(self) -> dict[str, Any]:
        """
        Raises:
            MultisegError: the run has no metrics yet, or the file is damaged.
        """
        try:
            metrics: dict[str, Any] = json.loads(self.metrics_path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise MultisegError(f"{self.metrics_path} is no text in UTF-8.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise MultisegError(f"{self.metrics_path} cannot be read; is the run finished? ({error})") from None
        _check_metrics(metrics, self.metrics_path)
        return metrics

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_text(self.metrics_path, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")


def _check_metrics(metrics: Any, path: Path) -> None:
    """That a metrics.json has the form in which runs write it, as far as anything is made of it.

    Raises:
        MultisegError: it has not; the message names the key.
    """

    def expect(value: Any, kinds: Any, key: str, expected: str) -> None:
        wrong = not isinstance(value, kinds) or isinstance(value, bool)
        if wrong or (isinstance(value, int | float) and not abs(value) < sys.float_info.max):
            raise MultisegError(f"{path}: {key} must be {expected}, not {str(value)[:60]!r}.")

    def expect_numbers(value: Any, key: str, depth: int) -> None:
        if depth == 0 or not isinstance(value, Mapping):
            expect(value, int | float | None if depth == 0 else Mapping, key, "a number" if depth == 0 else "keys")
            return
        for name, entry in value.items():
            expect_numbers(entry, f"{key}.{name}", depth - 1)

    expect(metrics, Mapping, "all of it", "keys")
    expect(metrics.get("method", ""), str, "method", "text")
    expect(metrics.get("step"), int | None, "step", "a whole number")
    expect(metrics.get("seconds"), int | float | None, "seconds", "a number")
    if metrics.get("proxy") is not None:
        expect_numbers(metrics["proxy"], "proxy", 2)
    datasets = metrics.get("datasets", {})
    expect(datasets, Mapping, "datasets", "keys")
    for name, entry in datasets.items():
        expect(entry, Mapping, f"datasets.{name}", "keys")
        for key in ("mIoU", "mean_accuracy", "pixel_accuracy"):
            expect(entry.get(key), int | float | None, f"datasets.{name}.{key}", "a number")
        expect_numbers(entry.get("per_class", {}), f"datasets.{name}.per_class", 1)
        absent = entry.get("absent", [])
        expect(absent, list, f"datasets.{name}.absent", "a list")
        for place, text in enumerate(absent):
            expect(text, str, f"datasets.{name}.absent[{place}]", "text")
        if "PQ" in entry:
            try:
                PanopticScores.from_json(entry)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise MultisegError(f"{path}: datasets.{name}.PQ is incomplete.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside another that takes its place at the end: a reader, or a crash, finds the old or the new, never a
    part. After an error the old one stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except Exception:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class InputSize:
    """How large a dataset's images enter the network.

    Args:
        long_side: in pixels; None: as the file is.
        crop: height and width of the training crops, the natural size of a sliding window.
    """

    long_side: int | None
    crop: tuple[int, int]


def save_model(
    run: RunFolder, method: SegmentationMethod, method_config: Config, inputs: Mapping[str, InputSize], precision: str
) -> None:
    """Write RUN/model.

    Args:
        run: the folder.
        method: the trained method.
        method_config: the `method` section of its configuration.
        inputs: by training dataset.
        precision: in which it was trained, as Lightning names it.
    """
    state = {name: tensor.contiguous() for name, tensor in method.trained_state().items()}
    with replacing(run.weights_path) as partial:
        save_file(state, partial)
    description = {
        "format": MODEL_FORMAT,
        "multiseg": multiseg.__version__,
        "method": without_weights(method_config),
        "precision": precision,
        "spaces": [space.to_json() for space in method.spaces.values()],
        "inputs": {name: asdict(size) for name, size in inputs.items()},
    }
    write_text(run.model_path, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Model:
    """A trained model, ready to predict.

    Args:
        method: in evaluation mode, without gradients.
        inputs: by training dataset.
        precision: in which it was trained, as Lightning names it.
    """

    method: SegmentationMethod
    inputs: Mapping[str, InputSize]
    precision: str

    def input_size(self, taxonomy: str) -> InputSize:
        """The input size for a taxonomy: its dataset's, or, for a union of datasets, the first one's."""
        return self.inputs.get(taxonomy) or next(iter(self.inputs.values()))


def load_model(run: RunFolder) -> Model:
    """
    Raises:
        MultisegError: the run has no model, or it is broken.
    """
    if not run.path.is_dir():
        raise MultisegError(f"the run folder {run.path} does not exist.")
    if not run.model_path.is_file() or not run.weights_path.is_file():
        raise MultisegError(f"{run.path} has no model/; is it a run folder, and is the run finished?")
    try:
        description = json.loads(run.model_path.read_text(encoding="utf-8"))
        spaces = [LabelSpace.from_json(entry) for entry in description["spaces"]]
        version, config, precision = description["format"], description["method"], description["precision"]
        inputs = {
            name: InputSize(size["long_side"], tuple(size["crop"])) for name, size in description["inputs"].items()
        }
        if not isinstance(config, dict) or not inputs:
            raise MultisegError(f"{run.model_path} is broken: 'method' and 'inputs' must hold keys.")
    except UnicodeDecodeError:
        raise MultisegError(f"{run.model_path} is broken: it is no text in UTF-8.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise MultisegError(f"{run.model_path} is broken: {type(error).__name__}: {str(error)[:200]}.") from None
    if version != MODEL_FORMAT:
        raise MultisegError(f"{run.model_path} has format {version}; this multiseg reads format {MODEL_FORMAT}.")
    method = build_method(config, spaces)
    try:
        method.load_trained(load_file(run.weights_path))
    except Exception as error:
        raise MultisegError(f"{run.weights_path} is broken or belongs to another model: {first_line(error)}") from None
    return Model(method.eval().requires_grad_(False), inputs, precision)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, read without running any code in it.

    Raises:
        MultisegError: it is missing or broken.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise MultisegError(f"the checkpoint {path} does not exist.") from None
    except Exception as error:
        raise MultisegError(f"the checkpoint {path} is broken: {first_line(error)}") from None
    if "state_dict" not in checkpoint or "loops" not in checkpoint:
        raise MultisegError(f"{path} is no checkpoint of a run.")
    return checkpoint


def without_weights(config: Any) -> Any:
    """A `method` section without the files of first weights, which only training needs."""
    if isinstance(config, dict):
        return {
            key: None if key == "weights" and isinstance(value, str) else without_weights(value)
            for key, value in config.items()
        }
    return [without_weights(entry) for entry in config] if isinstance(config, list) else config


def first_line(error: Exception) -> str:
    """Of a library's message, which may have many."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
