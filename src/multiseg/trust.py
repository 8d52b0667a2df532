"""Which code a file may name.

Recipes, run folders and models name classes by their paths, and to import a module is to run it. So what stands in a
file may name only classes that are known to be harmless: those that a configuration of this package is made of, and
torchvision's transforms. Whoever wants more says so himself, on the command line (`--trust PACKAGE`) or in Python:

    with trusted("cosine_heads"):
        predictor = Predictor.from_run(RunFolder("runs/a"))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from multiseg.errors import MultisegError, did_you_mean

#: Whose classes a configuration consists of. What such a class does with its arguments must be safe for any of them.
_OWN = (
    "multiseg.methods",
    "multiseg.networks",
    "multiseg.losses",
    "multiseg.optim",
    "multiseg.loading",
    "multiseg.evaluation.panoptic_inference.PanopticThresholds",
    "multiseg.taxonomy.relations.Relation",
    "multiseg.instantiation.Initialization",
    "multiseg.instantiation.TrainerSettings",
)

_TRANSFORMS = "torchvision.transforms.v2"

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusted(*packages: str) -> Iterator[None]:
    """Within this block files may name everything of these packages, too.

    Args:
        packages: as they are imported; a module without a package counts as one. `a.b` is trust in that part of `a`.

    Raises:
        MultisegError: this is no name of a package.
    """
    for package in packages:
        if not all(part.isidentifier() for part in package.split(".")):
            raise MultisegError(f"--trust {package}: this is no name of a package, such as 'cosine_heads'.")
        if package.split(".")[0] == "jsonargparse":  # it would let a file lift every bar
            raise MultisegError(f"--trust {package}: it reads configurations, and is never a part of one.")
    token = _trusted.set(tuple(dict.fromkeys([*_trusted.get(), *packages])))
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted(path: str) -> bool:
    """Whether an import path lies in a package that the user trusts."""
    return any(f"{path}.".startswith(f"{package}.") for package in _trusted.get())


@contextmanager
def guarded() -> Iterator[None]:
    """Within this block jsonargparse imports nothing that a value names, unless it is harmless or trusted."""
    from jsonargparse import set_parsing_settings

    # There is no public way to take a setting back, and it must not outlive the block: other code of the same process
    # may use jsonargparse for other things. Were this name to go, nothing would be read unguarded: the import fails.
    from jsonargparse._common import parsing_settings

    before = dict(parsing_settings)
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*_OWN, *_harmless_transforms(), *_trusted.get()],
        # a dataset's own `pipeline` has values of any type; one that is refused must not pass for a plain value
        validate_subclass_spec_in_any=True,
        instantiate_subclass_spec_in_any=True,
    )
    try:
        yield
    finally:
        parsing_settings.clear()
        parsing_settings.update(before)


def refusal(path: str) -> str:
    """Why an import path is refused, and what to do; the end of a message."""
    module, _, name = path.rpartition(".")
    if module == _TRANSFORMS and name != "Lambda":
        return f"{module} has no transform '{name}'; {did_you_mean(name, _transform_names())}"
    if path.split(".")[0] == "multiseg":
        return f"'{path}' is no class that a configuration may name."
    package = path.split(".")[0]
    return (
        f"'{path}' is code from outside multiseg, which a file may name only if you trust it: if you know what it does,"
        f" add --trust {package}"
    )


def refused_path(message: str) -> str | None:
    """The import path that jsonargparse refused, from its error message."""
    match = re.search(r"Importing '([^']+)' is not allowed", message)
    return match[1] if match else None


@cache
def _harmless_transforms() -> tuple[str, ...]:
    """Paths of torchvision's transforms, as people write them and as they are defined; not `Lambda`, which calls any
    function.
    """
    from torchvision.transforms import v2

    classes = [getattr(v2, name) for name in _transform_names()]
    return tuple(
        path
        for entry in classes
        for path in (f"{_TRANSFORMS}.{entry.__name__}", f"{entry.__module__}.{entry.__qualname__}")
    )


@cache
def _transform_names() -> tuple[str, ...]:
    from torchvision.transforms import v2

    return tuple(
        name
        for name, entry in vars(v2).items()
        if isinstance(entry, type) and issubclass(entry, v2.Transform) and entry is not v2.Lambda
    )
