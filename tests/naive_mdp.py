"""MDP's equations as loops over pixels in double precision, and inputs for them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -1


def make_view(
    seed: int, images: int = 2, size: tuple[int, int] = (4, 5), classes: int = 4, channels: int = 6
) -> Tensor:
    """Unit embeddings (B, D, h, w) float64 and labels (B, h, w) with ignored pixels and classes of some images only."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(images, channels, *size, generator=generator, dtype=torch.float64), dim=1)


def make_labels(seed: int, images: int = 2, size: tuple[int, int] = (4, 5), classes: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    labels = torch.randint(-1, classes, (images, *size), generator=generator)
    labels[0][labels[0] == 0] = 1  # class 0 is not in the first image
    return labels


def pixels_of(embeddings: Tensor, labels: Tensor, image: int) -> list[tuple[Tensor, int]]:
    """Labelled pixels of an image, row by row."""
    _, _, height, width = embeddings.shape
    places = [(y, x) for y in range(height) for x in range(width) if labels[image, y, x] != IGNORE]
    return [(embeddings[image, :, y, x].double(), int(labels[image, y, x])) for y, x in places]


def pixel_contrast(
    queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor, temperature: float
) -> tuple[Tensor, int]:
    """Eq. 2, summed, and how many pixels took part."""
    total, count = queries.double().sum() * 0, 0
    for image in range(len(queries)):
        others = pixels_of(keys, key_labels, image)
        for f, label in pixels_of(queries, query_labels, image):
            positives = [k for k, y in others if y == label]
            if not positives:
                continue
            denominator = torch.stack([torch.exp(f @ k / temperature) for k, _ in others]).sum()
            total = total - sum(torch.log(torch.exp(f @ k / temperature) / denominator) for k in positives) / len(
                positives
            )
            count += 1
    return total, count


def class_embeddings(embeddings: Tensor, labels: Tensor) -> list[dict[int, Tensor]]:
    """For each image, p_y of every class y in it."""
    found: list[dict[int, Tensor]] = []
    for image in range(len(embeddings)):
        members: dict[int, list[Tensor]] = {}
        for f, label in pixels_of(embeddings, labels, image):
            members.setdefault(label, []).append(f)
        found.append({label: torch.stack(own).mean(0) for label, own in members.items()})
    return found


def prototypes(images: list[dict[int, Tensor]], normalize: bool) -> dict[int, Tensor]:
    """Eq. 3: the mean over the images that show a class."""
    classes = {label for image in images for label in image}
    means = {label: torch.stack([image[label] for image in images if label in image]).mean(0) for label in classes}
    return {label: F.normalize(mean, dim=0) if normalize else mean for label, mean in means.items()}


def prototype_contrast(
    embeddings: Tensor,
    labels: Tensor,
    entries: list[tuple[int, Tensor]],
    temperature: float,
    alpha: float = 1.0,
    neighbours: int = 0,
    by_class: bool = False,
    shares: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Eq. 4 (α = 1) or 8, summed, and the sum of weights. Entries are (class, prototype); of a class several may be."""
    total, weight = embeddings.double().sum() * 0, 0.0
    known = sorted({label for label, _ in entries})
    mean = {y: torch.stack([p for label, p in entries if label == y]).mean(0) for y in known}
    for image in range(len(embeddings)):
        share = 1.0 if shares is None else float(shares[image])
        for f, label in pixels_of(embeddings, labels, image):
            if label not in known:
                continue
            denominator = torch.stack([torch.exp(f @ p / temperature) for _, p in entries]).sum()

            def log_share(y: int, f: Tensor = f, denominator: Tensor = denominator) -> Tensor:
                own = [torch.log(torch.exp(f @ p / temperature) / denominator) for label, p in entries if label == y]
                return torch.stack(own).mean()

            seen_from = mean[label] if by_class else f.detach()
            others = sorted((y for y in known if y != label), key=lambda y: -float(seen_from @ mean[y]))[:neighbours]
            loss = -log_share(label)
            if others:
                loss = alpha * loss - (1 - alpha) * torch.stack([log_share(y) for y in others]).mean()
            total, weight = total + share * loss, weight + share
    return total, weight
