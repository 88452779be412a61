"""The picture beside the tables: how small, and how fast, everyone is on the same family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GREY, OURS, THEIRS = "#7d8590", "#2f81f7", "#9aa4b0"  # readable on white as on black


def draw(documents: dict[str, dict[str, Any]], path: Path) -> None:
    """Write the plot as SVG, with a transparent background."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})
    from matplotlib import pyplot

    stored = {
        row["peer"]: 100 * row["stored_bytes"] / row["raw_bytes"]
        for row in documents["size"]["measurements"]
        if row["what"] == "family"
    }
    speed = [
        row
        for row in documents["speed"]["measurements"]
        if (row["place"], row["shape"]) == ("disk", "one directory")
    ]  # fmt: skip
    panels = [("stored, % of raw", stored)]
    for action, title in (("in", "in, seconds"), ("out", "out, seconds")):
        panels.append((title, {row["peer"]: row["wall_seconds"] for row in speed if row["action"] == action}))
    order = sorted(stored, key=lambda name: -stored[name])
    figure, axes = pyplot.subplots(1, 3, figsize=(8.6, 2.5), sharey=True, layout="constrained")
    for axis, (title, values) in zip(axes, panels, strict=True):
        bars = axis.barh(order, [values[name] for name in order], height=0.7)
        for bar, name in zip(bars, order, strict=True):
            bar.set_color(OURS if name.startswith("casmodels") else THEIRS)
        axis.bar_label(bars, fmt="%.1f", padding=3, color=GREY)
        axis.set_title(title, color=GREY, fontsize=9, loc="left")
        axis.set_xlim(0, 1.2 * max(values.values()))
        axis.tick_params(colors=GREY, length=0, labelbottom=False)
        axis.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)
