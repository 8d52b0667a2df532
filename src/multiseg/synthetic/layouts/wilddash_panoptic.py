"""WildDash 2 for its panoptic reader: the same tree."""

from __future__ import annotations

from multiseg.synthetic.layouts.wilddash import WildDash


class WildDashPanoptic(WildDash):
    name = "wilddash_panoptic"


LAYOUT = WildDashPanoptic()
