"""Cityscapes for its panoptic reader: the same tree, since that reads files which every release has."""

from __future__ import annotations

from multiseg.synthetic.layouts.cityscapes import Cityscapes


class CityscapesPanoptic(Cityscapes):
    name = "cityscapes_panoptic"


LAYOUT = CityscapesPanoptic()
