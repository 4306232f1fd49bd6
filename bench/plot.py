"""Draws a report of bench.measure: speeds as curves under the machine's peak, and a roofline.

Needs matplotlib, which `pip install keras-native[bench]` brings.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from bench.measure import LIBRARIES

_COLOURS = {"keras_native": "#d1495b", "torch": "#e8871e", "jax": "#2e86ab", "numpy": "#6a994e",
            "tensorflow": "#7b2d8b"}  # fmt: skip


class PlotError(RuntimeError):
    """There is no matplotlib, or nothing to draw."""


def draw(report: dict, path: str | pathlib.Path) -> None:
    """Writes a picture in the format that the file's ending names.

    Raises:
        PlotError: matplotlib is missing, or no case of the report has arithmetic to speak of.
    """
    rows = [row for row in report["rows"] if row["seconds"] and row["flops"]]
    if not rows:
        raise PlotError("nothing to draw: no case that was timed counts its arithmetic")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            f"--plot needs matplotlib ({error}): pip install keras-native[bench]"
        ) from error
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(left, report, rows)
    _roofline(right, report, rows)
    figure.suptitle(
        f"{report['family']}: {report['processor']}, {report['isa']}, {report['threads']} threads; "
        f"{report['compiler']}; {report['date']}",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)


def _series(report: dict, rows: Sequence[dict]) -> dict[str, list[float | None]]:
    """GFLOP/s of each library for each row."""
    names = ["keras_native", *(n for n in LIBRARIES if any(row.get(n) for row in rows))]
    return {
        name: [
            row["flops"] / took / 1e9
            if (took := row["seconds" if name == "keras_native" else name])
            else None
            for row in rows
        ]
        for name in names
    }


def _peak(report: dict, rows: Sequence[dict]) -> float:
    """Of the dtype of the rows, the widest where there are several."""
    return max(report["peaks"].get(row["dtype"], report["peak"]) for row in rows) / 1e9


def _curves(axes, report: dict, rows: Sequence[dict]) -> None:
    sizes = [_side(row["case"]) for row in rows]
    square = all(sizes) and len(set(sizes)) == len(sizes)
    where = sizes if square else range(len(rows))
    for name, speeds in _series(report, rows).items():
        version = report["versions"].get(name, "")
        axes.plot(where, [s if s else float("nan") for s in speeds], marker=".",
                  color=_COLOURS[name], label=f"{name} {version}")  # fmt: skip
    peak = _peak(report, rows)
    axes.axhline(peak, color="black", linewidth=1)
    fastest = max(s for speeds in _series(report, rows).values() for s in speeds if s)
    # The top edge is the peak, unless a kernel does less arithmetic than is counted.
    axes.set_ylim(0, max(peak, fastest * 1.02 if fastest > peak else 0))
    axes.set_ylabel(f"GFLOP/s (measured peak {peak:.0f})")
    if square:
        axes.set_xlabel("m = k = n")
    else:
        axes.set_xticks(list(where), [row["case"] for row in rows], rotation=90, fontsize=6)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _side(case: str) -> int | None:
    """n of "float32:nxnxn"."""
    sizes = case.split(":")[-1].split("x")
    plain = len(sizes) == 3 and len(set(sizes)) == 1 and sizes[0].isdigit()
    return int(sizes[0]) if plain else None


def _roofline(axes, report: dict, rows: Sequence[dict]) -> None:
    peak, stream = _peak(report, rows), report["stream"] / 1e9
    intensities = [row["flops"] / row["bytes"] for row in rows]
    low, high = min([*intensities, peak / stream]) / 2, max([*intensities, peak / stream]) * 2
    corner = peak / stream
    axes.plot([low, corner, high], [low * stream, peak, peak], color="black", linewidth=1)
    for name, speeds in _series(report, rows).items():
        points = [(x, y) for x, y in zip(intensities, speeds) if y]
        axes.scatter(*zip(*points), s=12, color=_COLOURS[name], label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations a byte of operands and results")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"roofline: {peak:.0f} GFLOP/s, {stream:.0f} GB/s", fontsize=9)
    axes.grid(alpha=0.3, which="both")
