"""Which validation images count in no mean, in words."""

from __future__ import annotations

from traiNNer.events import ValidationEvent

_NAMED = 3


def left_out_lines(event: ValidationEvent) -> list[str]:
    """One line for each group of metrics that leave the same images of a set out; none for broken outputs."""
    lines: list[str] = []
    for name, scores in event.sets.items():
        groups: dict[tuple[int, ...], list[str]] = {}
        for metric in scores.metrics:
            groups.setdefault(tuple(scores.left_out(metric)), []).append(metric)
        for out, metrics in groups.items():
            if out and scores.outputs_finite:
                images = ", ".join(scores.images[i] for i in out[:_NAMED])
                lines.append(
                    f"Validation {name}: {len(out)} of {len(scores.images)} images do not count in "
                    f"{', '.join(metrics)}: bicubic enlargement meets them exactly, or they are of a single "
                    f"colour ({images}{', ...' if len(out) > _NAMED else ''})"
                )
    return lines
