"""The learning curves as a picture."""

import pathlib


def draw(curves: dict[str, dict[str, list[float]]], folder: pathlib.Path) -> pathlib.Path:
    """One panel a model, one line a data set.

    Args:
        curves: title -> name -> loss of each epoch.
        folder: where learning_curves.png goes.

    Returns:
        The picture's path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (title, lines) in zip(panels, curves.items()):
        for name, losses in lines.items():
            panel.plot(range(1, len(losses) + 1), losses, label=name)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("epoch")
        panel.set_ylabel("loss")
        panel.grid(alpha=0.3)
        panel.legend()
    path = folder / "learning_curves.png"
    figure.savefig(path, dpi=120)
    return path
