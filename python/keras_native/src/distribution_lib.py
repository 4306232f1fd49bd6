"""Keras's distribution, on the one device and in the one process that this backend computes with.

Meshes and layouts are Keras's own. Over one device whatever they say comes to the value itself;
over several it is refused.
"""

from __future__ import annotations

from keras_native.engine import device
from keras_native.engine.errors import UnsupportedError


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of a type ("cpu", "gpu"); by default the one that is computed on.

    Raises:
        ValueError, RuntimeError: there is no such device, as `keras.device` says it.
    """
    return [device.STATE.name if device_type is None else device.find(device_type)]


def get_device_count(device_type: str | None = None) -> int:
    """How many devices there are of a type."""
    return len(list_devices(device_type))


def initialize(job_addresses=None, num_processes=None, process_id=None) -> None:
    """Joins the other processes, of which there must be none."""
    if (num_processes or 1) > 1 or "," in (job_addresses or ""):
        raise UnsupportedError(
            "keras.distribution.initialize: the native backend computes in one process, not in "
            f"num_processes={num_processes}, job_addresses={job_addresses}"
        )


def initialize_rng() -> None:
    """Nothing: there is no other process to share a seed with."""


def num_processes() -> int:
    return 1


def process_id() -> int:
    return 0


def distribute_tensor(tensor, layout):
    """The tensor itself, if the layout is one over a single device."""
    check_mesh(getattr(layout, "device_mesh", None))
    return tensor


def distribute_data_input(per_process_batch, layout, batch_dim_name):
    """The batch itself, if the layout is one over a single device."""
    return distribute_tensor(per_process_batch, layout)


def check_mesh(mesh) -> None:
    """UnsupportedError for a `DeviceMesh` of several devices."""
    if mesh is not None and mesh.devices.size > 1:
        raise UnsupportedError(
            f"the native backend computes on one device, not on the {mesh.devices.size} of {mesh}"
        )


def _to_backend_mesh(device_mesh):
    check_mesh(device_mesh)
    return device_mesh


def _to_backend_layout(tensor_layout):
    check_mesh(tensor_layout.device_mesh)
    return tensor_layout
