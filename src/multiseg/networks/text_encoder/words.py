"""How the names of classes are said."""

from __future__ import annotations

import re

#: Between the words of "SignSymbol" and of "SUVPickupTruck".
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: What separates the names in a list; not in parentheses.
_COMMAS = re.compile(r"[,;](?![^(]*\))")

#: Words at the end by which datasets tell their own classes apart, and which nobody says: "wall-other-merged".
_ENDINGS = frozenset({"merged", "other", "stuff"})


def spoken(name: str) -> str:
    """How a dataset's class name is said: "SignSymbol" becomes "sign symbol", "construction--flat--road" "road",
    "wall-other-merged" "wall" and "chest of drawers, chest, bureau" "chest of drawers".

    Words of capitals only, such as "SUV", are left as they are. What stands in parentheses is said, too: "Traffic Sign
    (Back)" and "Traffic Sign (Front)" are two classes.
    """
    return synonyms_in(name)[0]


def synonyms_in(name: str) -> tuple[str, ...]:
    """All names that a class name lists, as `spoken` says them: ADE20K has "chest of drawers, chest, bureau".

    Returns:
        One at least, none twice.
    """
    found = dict.fromkeys(said for part in _COMMAS.split(name) if (said := _say(part)))
    return tuple(found) or (name.strip(),)


def _say(name: str) -> str:
    last = next((part for part in reversed(name.split("--")) if part.strip()), name)  # Mapillary's paths
    apart = _HUMPS.sub(" ", last.replace("/", " or "))
    words = [word for word in re.split(r"(?:[^\w'’]|_)+", apart) if word]
    while len(words) > 1 and words[-1].casefold() in _ENDINGS:
        words.pop()
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)
