"""Colours for classes to which a dataset gives none."""

from __future__ import annotations


def numbered_color(number: int) -> tuple[int, int, int]:
    """The colour map of Pascal VOC (`VOClabelcolormap.m` of its development kit), continued past 255.

    The bits of a number are dealt to red, green and blue in turn, the lowest bit to the highest place: neighbours look
    different, and no two numbers below 2**24 share a colour. 0 is black.
    """
    channels = [0, 0, 0]
    for place in range(24):
        channels[place % 3] |= (number >> place & 1) << (7 - place // 3)
    return channels[0], channels[1], channels[2]
