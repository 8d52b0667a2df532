"""Mapillary Vistas v2.0 for its panoptic reader, whose categories count from 1."""

from __future__ import annotations

from typing import ClassVar

from multiseg.synthetic.layouts.mapillary_v2 import MapillaryV2


class MapillaryV2Panoptic(MapillaryV2):
    name = "mapillary_v2_panoptic"
    other = 124
    first = 1
    raw_of_world: ClassVar = {world: raw + 1 for world, raw in MapillaryV2.raw_of_world.items()}


LAYOUT = MapillaryV2Panoptic()
