"""`multiseg taxonomy --by text`: the nearest class names across datasets, and relations that they suggest."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import astuple

import numpy as np

from multiseg.commands.neighbour_tables import neighbours_to_json, print_neighbours, print_suggestions
from multiseg.commands.taxonomy_report import (
    Findings,
    open_related,
    print_homonyms,
    print_names,
    print_summary,
    refuse_format_alone,
    refuse_measuring,
    write_findings,
)
from multiseg.console import say
from multiseg.errors import MultisegError, did_you_mean
from multiseg.networks.text_encoder import ClipText, SentenceText, TextEncoderSpec, encode_cached, spoken
from multiseg.taxonomy.name_conflicts import homonyms_by_flags
from multiseg.taxonomy.prototype_relations import LEAD, MIN_CLASSES, check_lead, compare_prototypes, near_misses
from multiseg.taxonomy.text_relations import classes_as_texts

#: What is said before a class name: it tells the encoder that things are meant, and makes its neighbours saner.
PREFIX = "a photo of"


def show_text_taxonomy(given: Namespace) -> int:
    """Print what the names of classes say about the given datasets, and write it where --out says. No image is read.

    Raises:
        MultisegError: an option is wrong, or the text encoder cannot be had.
    """
    refuse_format_alone(given)
    refuse_measuring(given)
    if given.columns:
        raise MultisegError("--columns is for a master table, not for --by text.")
    threshold = LEAD if given.threshold is None else given.threshold
    check_lead(threshold)
    spec = text_encoder(given.text_encoder or "sentence")
    spaces = [dataset.label_space for dataset in open_related(given.datasets).values()]
    said = encode_cached(spec, [spoken(name) for space in spaces for name in space.names], PREFIX).double().numpy()
    ends_at = np.cumsum([len(space) for space in spaces])[:-1]
    comparison = compare_prototypes(classes_as_texts(spaces, np.split(said, ends_at)), threshold)
    missed = near_misses(comparison, threshold)
    relations = [suggestion.relation for suggestion in comparison.suggestions]
    findings = Findings(spaces, relations, homonyms_by_flags(spaces))
    evidence = [suggestion.evidence("text") for suggestion in comparison.suggestions]
    doubtful = [(suggestion.relation, suggestion.evidence("text")) for suggestion in missed]
    for space in spaces:
        if len(space) < MIN_CLASSES:
            say(f"{space.name} has {len(space)} classes: too few to tell what is near; only equal names are the same.")
    write_findings(given, findings, evidence, doubtful)
    if given.json:
        data = {
            **findings.to_json(),
            "evidence": evidence,
            "doubtful": [{"relation": list(astuple(relation)), "evidence": known} for relation, known in doubtful],
            "nearest": [neighbours_to_json(found, given.all) for found in comparison.neighbours],
            "text_encoder": spec.identity,
            "prefix": PREFIX,
            "threshold": threshold,
        }
        print(json.dumps(data, ensure_ascii=False))
        return 0
    print_summary(findings)
    print_neighbours("nearest names in other datasets", comparison.neighbours, "same name", given.all)
    print_suggestions("relations suggested, for you to check", comparison.suggestions, show_all=True)
    print_suggestions("doubtful ones, which are no more than remarks", missed, given.all)
    print_homonyms(findings.homonyms, given.all)
    print_names("no relation suggested for", findings.without_partner, given.all)
    return 0


def text_encoder(written: str) -> TextEncoderSpec:
    """`sentence`, `sentence:FOLDER`, `clip:MODEL` or `clip:MODEL:PRETRAINED`.

    Raises:
        MultisegError: it is none of these.
    """
    kind, *rest = written.split(":", 1)
    details = rest[0] if rest else ""
    if kind == "sentence":
        return SentenceText(details or None)
    if kind == "clip":
        model, _, pretrained = details.partition(":")
        options = {"model": model, "pretrained": pretrained}
        return ClipText(**{key: value for key, value in options.items() if value})
    hint = did_you_mean(kind, ("sentence", "clip"))
    raise MultisegError(f"--text-encoder {written}: expected sentence or clip:MODEL[:PRETRAINED]; {hint}")
