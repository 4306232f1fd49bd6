"""In which dtype trained models predict."""

from __future__ import annotations

_PASSES = {"float32": (), "bfloat16": ("narrow_recurrence", "narrow_inference")}
_state = {"dtype": "float32"}


def set_inference_dtype(dtype: str) -> None:
    """Chooses the dtype in which `predict` and `evaluate` compute what is float32.

    With "bfloat16" products, convolutions, dense layers, attention without a bias and the
    recurrence of LSTMs take operands rounded to bfloat16 and sum in float32, on processors with
    instructions for it (instruction set `avx512_bf16`); other processors, and all other operations,
    go on in float32. Weights stay as they are and are rounded once, not in each run. Training and
    direct calls of a model are not touched. It holds for all models from their next batch on.

    Args:
        dtype: "float32" (the default) or "bfloat16".

    Raises:
        ValueError: any other dtype.
    """
    if dtype not in _PASSES:
        raise ValueError(
            f"set_inference_dtype: {dtype!r} is not one of {', '.join(map(repr, _PASSES))}"
        )
    _state["dtype"] = dtype


def inference_dtype() -> str:
    """The dtype in which `predict` and `evaluate` compute: see `set_inference_dtype`."""
    return _state["dtype"]


def inference_passes() -> tuple[str, ...]:
    """The passes that bring a step into that dtype."""
    return _PASSES[_state["dtype"]]
