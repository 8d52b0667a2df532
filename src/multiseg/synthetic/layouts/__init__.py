"""Official layouts in which scenes can be written: a module declares its own as `LAYOUT` and is found by lying here."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from multiseg.synthetic.layouts.base import Layout


@cache
def all_layouts() -> dict[str, Layout]:
    """Every layout by its name, which is that of the reader it is written for."""
    modules = (importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__))
    layouts = [module.LAYOUT for module in modules if hasattr(module, "LAYOUT")]
    return {layout.name: layout for layout in sorted(layouts, key=lambda layout: layout.name)}
