"""Scores as a model card: Markdown, with the model-index that the hub reads in front."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cvbench import tables
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS
from cvbench.report.markdown import plain

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def card(records: Sequence[RunRecord]) -> str:
    """Return the card of one model, whose records these are. Raises UsageError where nothing has a score."""
    scored = [record for record in records if record.scores]
    if not scored:
        raise UsageError("no record of this model has a score")
    facts, table = scored[0].model, tables.lay_out(scored, intervals=True, allow_mixed=True)
    said = [text for text in (facts.about, f"Licence: {facts.licence}." if facts.licence else "") if text]
    lines = [f"cvbench run --models {r.model.spec or r.model.name} --data {r.data.name}" for r in scored]
    shown = "\n".join(f"    {' '.join(line.split())}" for line in dict.fromkeys(lines))
    parts = [
        f"---\n{front_matter(scored)}---",
        f"# {plain(facts.name)}",
        *(plain(text) for text in said),
        "## Scores",
        tables.markdown(table).strip(),
        "Measured with cvbench; where the data lie is for `--data NAME=PATH`:",
        shown,
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(records: Sequence[RunRecord]) -> str:
    """Return the metadata of a card in YAML, by the hub's own library, which escapes what names hold."""
    from huggingface_hub import ModelCardData

    facts = records[0].model
    data = ModelCardData(
        model_name=facts.name, license=facts.licence or None, eval_results=[*_results(records)], library_name="cvbench"
    )
    return f"{data.to_yaml()}\n"


def _results(records: Sequence[RunRecord]) -> "Iterator[EvalResult]":
    from huggingface_hub import EvalResult

    for record in records:
        task = "image-to-image" if all(sample.frames == 1 for sample in record.samples) else "video-to-video"
        for name, score in record.scores.items():
            yield EvalResult(
                task_type=task,
                dataset_type=record.data.name,
                dataset_name=record.data.name,
                dataset_revision=record.data.manifest[:12],
                metric_type=name,
                metric_name=METRICS[name].label if name in METRICS else name,
                metric_value=score.value,
                metric_config=score.signature.text,
            )
