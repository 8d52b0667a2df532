"""Relations between taxonomies, read off the embeddings of their class names.

A text encoder puts *aeroplane* near *airplane* and *vegetation* near *tree*. How near is near differs between encoders
and names, and some names are near to nearly all, so they are compared as prototypes are: see
`multiseg.taxonomy.prototype_relations`. What a dataset means by a name, no encoder knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiseg.label_space import LabelSpace, same_name
from multiseg.taxonomy.prototype_relations import ClassPrototypes, Floats


def classes_as_texts(spaces: Sequence[LabelSpace], vectors: Sequence[Floats]) -> list[ClassPrototypes]:
    """Ready for `compare_prototypes`, where classes of the same name count as one.

    Args:
        spaces: of the datasets.
        vectors: of each, (K, D) the embeddings of its class names.
    """
    numbers: dict[str, int] = {}
    found = []
    for space, own in zip(spaces, vectors, strict=True):
        ids = [numbers.setdefault(same_name(name), len(numbers)) for name in space.names]
        found.append(ClassPrototypes(space, own, np.ones(len(space), np.bool_), np.array(ids, np.int64)))
    return found
