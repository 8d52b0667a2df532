"""Section of a report on the words of classes: where a text encoder, and the model behind it, put them.

It is Figure 2 of LMSeg (Zhou et al., ICLR 2023), drawn once more for what the adapter has made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from multiseg.evaluation.embedding_charts import Canvas, Mark, Match, dataset_keys, nearest_tables

#: A report with more runs than that has pictures of the first ones.
_RUNS = 4


@dataclass(frozen=True, eq=False)
class RunWords:
    """The embedded names of a run's classes.

    Args:
        run: its name on the page.
        classes: names, by dataset.
        encoded: where the text encoder puts them in the plane; nothing where there is no picture.
        adapted: where they are behind the adapter.
        matches: by dataset and class the nearest in each other dataset, behind the adapter.
        notes: sentences on what is missing.
    """

    run: str
    classes: Mapping[str, Sequence[str]]
    encoded: Sequence[Mark]
    adapted: Sequence[Mark]
    matches: Mapping[tuple[str, str], Mapping[str, Match]]
    notes: tuple[str, ...] = ()


def words_section(runs: Sequence[RunWords]) -> str:
    """Two pictures of each run's words, and a table of the nearest across datasets.

    Args:
        runs: those whose models have words, in the order of the page.

    Returns:
        nothing where there is none.
    """
    if not runs:
        return ""
    lead = (
        "The model tells classes apart by the embeddings of their names. Look for classes of different datasets that "
        "lie together: what the model learns of one serves the other."
    )
    how = (
        "In the plane by t-SNE of embeddings of unit length: it keeps near what is near, but how far groups lie apart, "
        "and how large they are, means nothing. Classes of one name are one mark. Where there is no room for a name, "
        "it is shown under the pointer."
    )
    out = [f'<p>{lead}</p><p class="muted small">{how}</p>']
    for run in runs[:_RUNS]:
        heading = f"<h3>{escape(run.run)}</h3>" if len(runs) > 1 else ""
        notes = "".join(f"<p>{escape(note)}</p>" for note in run.notes)
        pictures = _picture(run, "As the text encoder gives them", run.encoded)
        pictures += _picture(run, "Behind the adapter, as queries are compared with them", run.adapted)
        out.append(f"{heading}{notes}{pictures}{_nearest(run)}")
    if others := [run.run for run in runs[_RUNS:]]:
        out.append(f'<p class="muted small">Not drawn, since there are many: {escape(", ".join(others))}.</p>')
    return "".join(out)


def _picture(run: RunWords, title: str, marks: Sequence[Mark]) -> str:
    if not marks:
        return ""
    datasets = list(run.classes)
    drawn = Canvas(datasets, marks).draw(title, by_class=False)
    return f"<h4>{title}</h4>{dataset_keys(datasets, marks)}{drawn}"


def _nearest(run: RunWords) -> str:
    said = (
        "The nearest class of each other dataset, with the cosine between embeddings behind the adapter. Bold are "
        "those that stand out among each other's neighbours. Every class has a nearest one."
    )
    if any(match.shared for own in run.matches.values() for match in own.values()):
        said += " Classes marked = have one name."
    return nearest_tables(run.classes, run.matches, "Nearest words", said)
