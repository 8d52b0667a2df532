"""Mapillary Vistas v2.0: palette masks, masks of instances, and COCO's panoptic files."""

from __future__ import annotations

from typing import ClassVar

from multiseg.synthetic.layouts.mapillary import Vistas


class MapillaryV2(Vistas):
    name = "mapillary_v2"
    other = unlabeled = 123
    truth = "v2.0/"
    index = "panoptic_2020.json"
    # ids, names, colours and instances as the official `config_v2.0.json` has them
    classes: ClassVar = {
        4: ("Curb", "construction--barrier--curb", (196, 196, 196), False),
        5: ("Fence", "construction--barrier--fence", (190, 153, 153), False),
        7: ("Barrier", "construction--barrier--other-barrier", (90, 120, 150), False),
        12: ("Wall", "construction--barrier--wall", (102, 102, 156), False),
        19: ("Pedestrian Area", "construction--flat--pedestrian-area", (96, 96, 96), False),
        21: ("Road", "construction--flat--road", (128, 64, 128), False),
        24: ("Sidewalk", "construction--flat--sidewalk", (244, 35, 232), False),
        27: ("Building", "construction--structure--building", (70, 70, 70), False),
        30: ("Person", "human--person--individual", (220, 20, 60), True),
        32: ("Bicyclist", "human--rider--bicyclist", (255, 0, 0), True),
        35: ("Lane Marking - Dashed Line", "marking--continuous--dashed", (255, 255, 255), False),
        61: ("Sky", "nature--sky", (70, 130, 180), False),
        63: ("Terrain", "nature--terrain", (152, 251, 152), False),
        64: ("Vegetation", "nature--vegetation", (107, 142, 35), False),
        84: ("Street Light", "object--street-light", (210, 170, 100), True),
        85: ("Pole", "object--support--pole", (153, 153, 153), True),
        92: ("Traffic Light - General (Upright)", "object--traffic-light--general-upright", (250, 170, 30), True),
        100: ("Traffic Sign (Front)", "object--traffic-sign--front", (220, 220, 0), True),
        105: ("Bicycle", "object--vehicle--bicycle", (119, 11, 32), True),
        108: ("Car", "object--vehicle--car", (0, 0, 142), True),
        114: ("Truck", "object--vehicle--truck", (0, 0, 70), True),
        120: ("Ego Vehicle", "void--ego-vehicle", (120, 10, 10), False),
    }
    raw_of_world: ClassVar = {
        "ego-vehicle": 120,
        "sky": 61,
        "road": 21,
        "road-marking": 35,
        "kerb": 4,
        "sidewalk": 24,
        "paving": 19,
        "grass": 63,
        **dict.fromkeys(("facade", "window", "door"), 27),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 12),
        "fence": 5,
        "bollard": 7,
        "pole": 85,
        "lamp": 84,
        "traffic-light": 92,
        "traffic-sign": 100,
        **dict.fromkeys(("tree", "bush", "potted-plant"), 64),
        "person": 30,
        "rider": 32,
        "bicycle": 105,
        "car": 108,
        "truck": 114,
    }


LAYOUT = MapillaryV2()
