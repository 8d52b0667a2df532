"""Mapillary Vistas v1.2 for its panoptic reader, whose categories count from 1."""

from __future__ import annotations

from typing import ClassVar

from multiseg.synthetic.layouts.mapillary import Mapillary


class MapillaryPanoptic(Mapillary):
    name = "mapillary_panoptic"
    other = 66
    first = 1
    raw_of_world: ClassVar = {world: raw + 1 for world, raw in Mapillary.raw_of_world.items()}


LAYOUT = MapillaryPanoptic()
