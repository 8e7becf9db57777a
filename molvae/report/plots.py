"""Plots of a search and of a library, with Matplotlib's object interface: no global figure, no display, the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from molvae.chem import property_named
from molvae.report.pictures import grid_png
from molvae.report.run_files import Run, best_so_far, top_so_far
from molvae.report.summary import written
from molvae.report.tradeoffs import TradeOffs

INK, QUIET = "#1b2733", "#8a94a0"
SEARCH, FLOOR = "#0b5fa5", "#9a9a9a"
# Okabe & Ito's palette, which colour-blind readers can tell apart; the search's own blue is left out.
SOURCE_COLOURS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#5c5c8a", "#7a5230")
DPI = 150


def progress_png(run: Run) -> bytes:
    """Best score and mean of the ten best against oracle calls, beside random screening; each call is a dot."""
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    draw_progress(figure.add_subplot(), run)
    return _png(figure)


def overview_png(run: Run, n_molecules: int = 6) -> bytes:
    """The progress of a search and its best molecules in one picture."""
    best = run.best(n_molecules)
    figure = Figure(figsize=(12.6, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.0))
    draw_progress(left, run)
    texts = [written(e.score) for e in best]
    picture = grid_png([e.smiles for e in best], texts, columns=3, cell=(310, 270), core=run.core)
    right.imshow(imread(io.BytesIO(picture)), interpolation="lanczos")
    right.set_axis_off()
    right.set_title(f"the best {len(best)} molecules", loc="left", fontsize=11, color=INK)
    return _png(figure)


def draw_progress(axes: Axes, run: Run) -> None:
    """Draw the progress of a run into `axes`."""
    scores = run.scores
    calls = np.arange(1, len(scores) + 1)
    order = list(dict.fromkeys(e.source for e in run.evaluations))
    sources = np.array([e.source for e in run.evaluations])
    for i, source in enumerate(order):
        chosen = (sources == source) & np.isfinite(scores)
        axes.scatter(
            calls[chosen],
            scores[chosen],
            s=9 if len(scores) < 2000 else 3,
            color=SOURCE_COLOURS[i % len(SOURCE_COLOURS)],
            alpha=0.55,
            linewidths=0,
            label=source,
            zorder=2,
        )
    ends = []
    if run.floor is not None and np.isfinite(run.floor).any():
        x = np.arange(1, len(run.floor) + 1)
        for curve, style, text in (
            (best_so_far(run.floor), "-", "random, best"),
            (_from_tenth(run.floor), "--", "random, mean of best 10"),
        ):
            axes.plot(x, curve, style, color=FLOOR, linewidth=1.6, zorder=3)
            ends.append((curve[-1], text, "#6e6e6e"))
    for curve, style, text in ((best_so_far(scores), "-", "best"), (_from_tenth(scores), "--", "mean of best 10")):
        axes.plot(calls, curve, style, color=SEARCH, linewidth=2.0, zorder=4)
        ends.append((curve[-1], text, SEARCH))
    _limit(axes, run)
    _label_ends(axes, ends)
    axes.set_xlim(0, max(run.budget, len(scores), 1) * 1.0)
    axes.set_xlabel("oracle calls", color=INK)
    axes.set_ylabel("score (larger is better)", color=INK)
    axes.set_title(run.title, loc="left", fontsize=11, color=INK)
    axes.grid(axis="y", color="#e6e9ec", linewidth=0.8, zorder=0)
    _plain_axes(axes)
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncols=4, frameon=False, fontsize=8, markerscale=2,
        handletextpad=0.0, columnspacing=0.9,
    )  # fmt: skip


def trade_offs_png(found: TradeOffs) -> bytes:
    """Each pair of the first three terms: every molecule that was compared, and the undominated ones on top."""
    pairs = list(combinations(found.terms[:3], 2))
    figure = Figure(figsize=(4.4 * len(pairs), 3.8), layout="constrained")
    for axes, (across, up) in zip(np.atleast_1d(figure.subplots(1, len(pairs))), pairs, strict=True):
        for evaluations, colour, size, text in (
            (found.compared, FLOOR, 8, "compared"),
            (found.undominated, SEARCH, 22, "undominated"),
        ):
            x, y = ([e.components[name] for e in evaluations] for name in (across, up))
            axes.scatter(x, y, s=size, color=colour, alpha=0.8, linewidths=0, label=f"{text}, {len(evaluations):,}")
        axes.set_xlabel(across, color=INK)
        axes.set_ylabel(up, color=INK)
        _plain_axes(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=8, handletextpad=0.0)
    return _png(figure)


def distributions_png(sets: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """The distribution of each property in each set: outlines of histograms over common bins, normalised to area 1.

    sets: name of the set -> name of the property -> (n,) values; NaN is left out. A property without values in any set, or
    without spread, has an empty panel.
    """
    names = list(next(iter(sets.values())))
    figure = Figure(figsize=(3.1 * len(names), 3.0), layout="constrained")
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        values = {label: each[name][np.isfinite(each[name])] for label, each in sets.items()}
        everything = np.concatenate(list(values.values()))
        unit = property_named(name).unit
        panel.set_xlabel(name if "to" in unit else f"{name} ({unit})", color=INK)
        _plain_axes(panel)
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        if not len(everything) or everything.min() == everything.max():
            continue
        low, high = np.quantile(everything, (0.001, 0.999))  # a few outliers must not flatten the picture
        low, high = (low, high) if high > low else (everything.min(), everything.max())
        n_bins = int(np.clip(2 * np.sqrt(min(len(each) for each in values.values())), 10, 60))
        bins = np.linspace(low, high, n_bins + 1)
        for (label, each), colour in zip(values.items(), (SEARCH, FLOOR), strict=False):
            if len(each):
                heights, _ = np.histogram(each, bins=bins)
                heights = heights / (len(each) * (bins[1] - bins[0]))
                panel.stairs(
                    heights, bins, color=colour, linewidth=1.6, fill=colour == FLOOR, alpha=0.5 if colour == FLOOR else 1
                )
                panel.plot([], [], color=colour, linewidth=4, label=f"{label} ({len(each):,})")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=9)
    return _png(figure)


def _from_tenth(scores: np.ndarray) -> np.ndarray:
    """`top_so_far` from the tenth value on; the mean of fewer cannot be compared with it, and is left out."""
    curve = top_so_far(scores)
    curve[np.cumsum(np.isfinite(scores)) < 10] = np.nan
    return curve


def _limit(axes: Axes, run: Run) -> None:
    """Show every curve and most dots: a few scores far below the rest must not flatten the picture."""
    values = run.scores[np.isfinite(run.scores)]
    if not len(values):
        return
    low, high = np.quantile(values, 0.1), values.max()
    if run.floor is not None and np.isfinite(run.floor).any():
        low, high = min(low, np.nanquantile(run.floor, 0.5)), max(high, np.nanmax(run.floor))
    margin = 0.05 * max(high - low, 1e-6)
    axes.set_ylim(low - margin, high + margin)


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Name the curves at their right ends, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    gap = 0.06 * (top - bottom)
    at = -np.inf
    for y, text, colour in sorted((end for end in ends if np.isfinite(end[0])), key=lambda end: end[0]):
        at = max(y, at + gap)
        axes.annotate(
            f"{text} {y:.3g}", xy=(1.0, at), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            color=colour, fontsize=8.5, va="center", annotation_clip=False,
        )  # fmt: skip


def _plain_axes(axes: Axes) -> None:
    axes.tick_params(colors=QUIET, labelcolor=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c9cfd5")


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()
