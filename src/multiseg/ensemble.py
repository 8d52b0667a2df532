"""Several models that answer as one: their class probabilities are averaged, whatever they are and were trained by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.inference import ClassMaps, mean_labels
from multiseg.label_space import LabelSpace
from multiseg.loading.transforms import Pipeline, ResizeImage
from multiseg.predictor import Evaluation, Judge, Predictor, split_batches
from multiseg.taxonomy.relations import Remapping


@dataclass(frozen=True)
class EnsembleEvaluation:
    """Scores of an ensemble on one split of a dataset, and of each of its models on the same images.

    Args:
        together: of the ensemble; it needs the multiply-adds of all its models.
        alone: of each model, by its name.
    """

    together: Evaluation
    alone: Mapping[str, Evaluation]


class Ensemble:
    """Each pixel gets the class whose probability, averaged over several models, is largest.

    Each model answers as it does alone, with its own input size, precision, normalisation, `inference` and batch norms,
    and its own average over scales, mirror images and windows. Its softmax at the size of the file is what is averaged
    (`SegmentationMethod.probabilities`), with equal weights; the models may be of different methods. No model's
    probabilities are ever there at full size: see `mean_labels`. Segments cannot be averaged, only classes.

    Args:
        members: the models, by what to call them in messages and results.

    Raises:
        MultisegError: there are fewer than two, or they are on different devices.
    """

    def __init__(self, members: Mapping[str, Predictor]) -> None:
        self.members = dict(members)
        if len(self.members) < 2:
            raise MultisegError(f"an ensemble needs several runs, not {', '.join(self.members) or 'none'} alone.")
        self.device, *others = (member.device for member in self.members.values())
        if any(device != self.device for device in others):
            raise MultisegError("the models of an ensemble must be on one device.")

    def predict(self, image: Tensor, taxonomy: str | Mapping[str, str]) -> Tensor:
        """
        Args:
            image: (3, H, W) uint8.
            taxonomy: in which to predict, for all models or for each by its name.

        Returns:
            (H, W) int64 contiguous ids in the first model's order of classes, on the CPU.

        Raises:
            MultisegError: a model has no such taxonomy, or other classes in it.
        """
        first, member = next(iter(self.members.items()))
        named = self._each(taxonomy)
        with naming(first):
            wanted = member.taxonomy(named[first])
        together, _ = mean_labels(
            [
                voice.maps(image[None], image.shape[-2:], voice.taxonomy)
                for voice in self._voices(named, wanted).values()
            ]
        )
        return together[0].cpu()

    def evaluate(
        self,
        dataset: SegmentationDataset,
        taxonomy: str | Mapping[str, str] | None = None,
        remapping: Remapping | None = None,
        batch_size: int = 4,
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> EnsembleEvaluation:
        """Scores on every image of a split, at the size of the files, of all models in one pass over the images; those
        of a model alone are what `Predictor.evaluate` gives.

        Args:
            dataset: to be judged on.
            taxonomy: in which to predict, for all models or for each by its name; by default the dataset's own. The
                same classes in another order will do.
            remapping: from the first model's taxonomy to the dataset's classes, where they differ.
            batch_size: images at a time.
            workers: loading processes; None: as in training.
            progress: called with the number of images of each finished batch.

        Raises:
            MultisegError: a model has no such taxonomy or not its classes, or it must be said whose batch norms the
                images pass.
        """
        wanted = remapping.source if remapping else dataset.label_space
        voices = self._voices(self._each(taxonomy or dataset.name), wanted)
        for name, member in self.members.items():
            with naming(name):
                member.require_norms(dataset.name)
            member.norms_used.clear()
        joint = Judge(dataset.label_space, remapping, False, self.device)  # False: segments are not judged
        judges = {name: Judge(dataset.label_space, remapping, False, self.device) for name in voices}
        sides = {voice.long_side for voice in voices.values()}
        # images that models want in unlike sizes come in the size of the file
        pipeline = Pipeline(long_side=sides.pop() if len(sides) == 1 else None)
        gflops: dict[str, float] = {}
        for batch in split_batches(dataset, pipeline, batch_size, workers, progress):
            size = batch.labels.shape[-2:]
            gflops = gflops or {name: voice.gflops(batch.images) for name, voice in voices.items()}
            together, alone = mean_labels([voice.maps(batch.images, size, dataset.name) for voice in voices.values()])
            on_device = batch.to(self.device)
            for judge, labels in zip((joint, *judges.values()), (together, *alone), strict=True):
                judge.update(on_device, labels, [])

        def evaluation(judge: Judge, space: str, cost: float, norms: Mapping[str, int]) -> Evaluation:
            return Evaluation(dataset.name, dataset.split, space, judge.unreached, judge.scores(), cost, norms)

        own = {}
        for name, voice in voices.items():
            norms = dict(voice.predictor.norms_used.most_common())
            own[name] = evaluation(judges[name], voice.taxonomy, gflops[name], norms)
        return EnsembleEvaluation(evaluation(joint, wanted.name, sum(gflops.values()), {}), own)

    def _each(self, taxonomy: str | Mapping[str, str]) -> Mapping[str, str]:
        return dict.fromkeys(self.members, taxonomy) if isinstance(taxonomy, str) else taxonomy

    def _voices(self, taxonomies: Mapping[str, str], wanted: LabelSpace) -> dict[str, _Voice]:
        """
        Args:
            taxonomies: in which each model predicts.
            wanted: the classes in their order.

        Raises:
            MultisegError: a model has no such taxonomy, or other classes in it.
        """
        voices = {}
        for name, member in self.members.items():
            with naming(name):
                space = member.taxonomy(taxonomies[name])
                if lacking := [entry for entry in wanted.names if entry not in space.names]:
                    raise _unlike(space, "lacks", lacking)
                if beyond := [entry for entry in space.names if entry not in wanted.names]:
                    raise _unlike(space, "has besides", beyond)
            order = [space.names.index(entry) for entry in wanted.names]
            voices[name] = _Voice(member, space.name, None if space.names == wanted.names else order)
        return voices


@dataclass(frozen=True)
class _Voice:
    """A model that answers in one taxonomy.

    Args:
        predictor: of the model.
        taxonomy: its name.
        order: which of the taxonomy's classes come first, second …; None: as they are.
    """

    predictor: Predictor
    taxonomy: str
    order: list[int] | None

    @property
    def long_side(self) -> int | None:
        return self.predictor.model.input_size(self.taxonomy).long_side

    def maps(self, images: Tensor, size: Sequence[int], dataset: str) -> ClassMaps:
        """See `Predictor.class_maps`; images may still be larger than they enter the network."""
        maps = self.predictor.class_maps(self._resized(images), size, self.taxonomy, dataset)
        return maps if self.order is None else maps.in_order(self.order)

    def gflops(self, images: Tensor) -> float:
        """For one of the images; see `Predictor.gflops`."""
        return self.predictor.gflops(self._resized(images[:1]).shape[-2:], self.taxonomy)

    def _resized(self, images: Tensor) -> Tensor:
        resized: Tensor = ResizeImage(self.long_side)(images)
        return resized.as_subclass(Tensor)


def _unlike(space: LabelSpace, how: str, classes: Sequence[str]) -> MultisegError:
    named = ", ".join(classes[:3]) + (", …" if len(classes) > 3 else "")
    return MultisegError(
        f"its taxonomy '{space.name}' {how}: {named}; only over the same classes can runs be averaged."
    )


@contextmanager
def naming(run: str) -> Iterator[None]:
    """Within it errors say which run they are about."""
    try:
        yield
    except MultisegError as error:
        raise MultisegError(f"{run}: {error}") from None
