"""The figures of a run as a table, and whether the targets are met."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what bels reached, what the other side reached in the same run, and the target.

    ``ours`` None: not measured, which is never "met". ``least`` and ``most`` bound the ratio to the other side, ``floor``
    bounds the figure itself; a line without any of them is shown for the record.
    """

    name: str
    unit: str
    ours: float | None
    other_name: str = ""
    other: float | None = None
    least: float | None = None
    most: float | None = None
    floor: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Give bels's figure as a multiple of the other side's."""
        return self.ours / self.other if self.ours is not None and self.other else None

    @property
    def is_target(self) -> bool:
        """Tell whether this line can fail a run."""
        return (self.least, self.most, self.floor) != (None, None, None)

    @property
    def met(self) -> bool:
        """Tell whether every bound is kept."""
        if self.ours is None or ((self.least, self.most) != (None, None) and self.ratio is None):
            return not self.is_target
        ratio = self.ratio or 0.0
        return (
            (self.floor is None or self.ours >= self.floor)
            and (self.least is None or ratio >= self.least)
            and (self.most is None or ratio <= self.most)
        )


def table(figures: Sequence[Figure]) -> str:
    """Show the figures as text."""
    lines = [("benchmark", "bels", "other side", "", "ratio", "target", "")]
    for f in figures:
        bounds = (("x >= {:g}", f.least), ("x <= {:g}", f.most), (">= {:,.0f}", f.floor))
        lines.append(
            (
                f"{f.name}, {f.unit}",
                "not measured" if f.ours is None else f"{f.ours:,.1f}",
                "" if f.other is None else f"{f.other:,.1f}",
                f.other_name,
                "" if f.ratio is None else f"{f.ratio:.3g}",
                ", ".join(text.format(bound) for text, bound in bounds if bound is not None),
                ("met" if f.met else "MISSED") if f.is_target else f.note,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
