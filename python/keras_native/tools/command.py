"""What the command lines of the tools have in common."""

import argparse


def parser(tool: str, about: str | None, examples: str | None = None) -> argparse.ArgumentParser:
    """A parser for `python -m keras_native TOOL`, its text set as it is written.

    Args:
        about: what the tool does.
        examples: shown behind the options.
    """
    return argparse.ArgumentParser(
        prog=f"python -m keras_native {tool}",
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
