"""What the emulator must find: each fault planted in a kernel, beside the kernel as it should
be."""

import numpy as np
import planted_bulk
import planted_mbarrier
import planted_memory
import planted_order
import planted_wgmma
import pytest
from ptxkernel import Buffer, _cuda, launch, source

pytestmark = pytest.mark.emulator

RACES = planted_order.RACES
HOPPER = [
    *planted_mbarrier.BARRIERS,
    *planted_bulk.BULK,
    *planted_bulk.STORES,
    *planted_wgmma.PRODUCTS,
]
ALL = [
    *planted_memory.BOUNDS,
    *planted_memory.ALIGNMENT,
    *planted_memory.NOTHING_WRITTEN,
    *RACES,
    *planted_order.BARRIERS,
]


def halves(buffer, rows):
    """The map of a tensor [rows, 64] of 16 bits, in boxes of four rows; none on an older GPU."""
    if _cuda.device()["capability"] < 90:
        return b""
    return _cuda.tensor_map(6, buffer.memory.address, [64, rows], [128], [64, 4])


def reports_of(planted, hole, seed):
    """Reports of the kernel with `hole` in its place, and the addresses of its two buffers."""
    _cuda.set_options(seed=seed)
    _cuda.clear_reports()
    body = planted.body.replace("{x}", hole).replace("{{", "{").replace("}}", "}")
    parts = {"outer": planted.outer, "target": planted.target, "maps": planted.maps}
    text = source("{" + body + "}", 2, name="planted", **parts)
    buffers = Buffer(np.zeros(128, np.uint32)), Buffer(np.zeros(1024, np.uint32))
    maps = [halves(buffers[0], 4), halves(buffers[1], 32), halves(buffers[1], 64)][: planted.maps]
    if planted.id == "memory of the device":
        half = Buffer.empty(1, np.uint64)
        launch(source("st.global.u32 [%p0], 1;", 1), half, block=(1,))
        buffers = buffers[0], half
    args = {
        "grid": (planted.grid,),
        "block": (planted.block,),
        "shared": planted.shared,
        "name": "planted",
    }
    kernel = launch(text, *buffers, *maps, **args)
    try:
        _cuda.synchronize()
    except RuntimeError as error:
        assert "kernel planted" in str(error)
    assert kernel
    return _cuda.reports(), [b.memory.address for b in buffers]


@pytest.mark.parametrize("planted", HOPPER, ids=lambda p: p.id.replace(" ", "_"))
@pytest.mark.usefixtures("h100")
def test_found_on_hopper(planted):
    test_found(planted)


@pytest.mark.parametrize("planted", ALL, ids=lambda p: p.id.replace(" ", "_"))
def test_found(planted):
    """The fault alone is found, whatever the order of warps; the right kernel has none."""
    for seed in range(1, 6):
        reports, _ = reports_of(planted, planted.right, seed)
        assert [r["text"] for r in reports] == []
        reports, bases = reports_of(planted, planted.wrong, seed)
        # Who reads too early may also find that nothing has been written yet.
        early = {"uninitialised"} if planted in [*RACES, *HOPPER] else set()
        faults = {r["fault"] for r in reports}
        wanted = {planted.fault, planted.also} - {""}
        assert faults & wanted and faults <= wanted | early, reports
        first = next(r for r in reports if r["fault"] in wanted)
        assert first["kernel"] == "planted"
        assert first["source"].startswith("PTX line ")
        assert first["opcode"].split(".")[0] in planted.body + planted.wrong
        if planted.at:
            thread, offset = planted.at
            assert first["thread"][0] == thread
            if offset is not None:
                assert first["address"] in [offset, *(b + offset for b in bases)]


def test_use_after_free():
    text = source("ld.global.u32 %r1, [%p0];", 1)
    buffer = Buffer(np.zeros(32, np.uint32))
    launch(text, np.uint64(buffer.memory.address))
    _cuda.synchronize()
    address = buffer.memory.address
    del buffer
    kernel = launch(text, np.uint64(address))
    with pytest.raises(RuntimeError, match="use after free"):
        _cuda.synchronize()
    (report,) = _cuda.reports()
    assert report["fault"] == "use after free" and report["address"] == address
    assert kernel


def test_addresses_are_never_used_again():
    addresses = {Buffer(np.zeros(8, np.uint32)).memory.address for _ in range(20)}
    assert len(addresses) == 20


LIMITS = {
    "threads": ({"block": (1024,)}, {"block": (1025,)}),
    "threads in all": ({"block": (32, 32)}, {"block": (32, 33)}),
    "z of the block": ({"block": (1, 1, 64)}, {"block": (1, 1, 65)}),
    "y of the grid": ({"grid": (1, 65535)}, {"grid": (1, 65536)}),
    "no block": ({"grid": (1,)}, {"grid": (0,)}),
    "shared memory": ({"shared": 163 << 10}, {"shared": (163 << 10) + 1}),
    "declared threads": (
        {"block": (64,), "launch": ".maxntid 64"},
        {"block": (65,), "launch": ".maxntid 64"},
    ),
    "declared threads in two": (
        {"block": (8, 8), "launch": ".reqntid 8, 8"},
        {"block": (9, 8), "launch": ".reqntid 8, 8"},
    ),
}


@pytest.mark.parametrize("right, wrong", LIMITS.values(), ids=LIMITS)
def test_launch_limits(right, wrong):
    for sizes, good in ((right, True), (wrong, False)):
        sizes = dict(sizes)
        kernel = _cuda.Module(source("", 0, launch=sizes.pop("launch", ""), name="limited")).kernel(
            "limited"
        )
        arguments = {"grid": [1], "block": [1]} | {
            k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()
        }
        if good:
            kernel.launch(arguments=[], **arguments)
            _cuda.synchronize()
            assert _cuda.reports() == []
        else:
            with pytest.raises(RuntimeError, match="limited"):
                kernel.launch(arguments=[], **arguments)


def test_source_lines():
    """With .loc a report names the file and line, and where the line was inlined."""
    body = """.loc 1 12 3
add.u64 %rd1, %p0, 512;
.loc 1 14 1, function_name I, inlined_at 1 30 5
ld.global.u32 %r1, [%rd1];"""
    text = source(body, 1).replace(".target sm_80", '.target sm_80\n.file 1 "some/where/gemm.cu"')
    text = text.replace(".version 8.5\n", ".version 8.5\n", 1).replace('.file 1 "', '\n.file 1 "')
    header, rest = text.split(".address_size 64\n", 1)
    file = next(line for line in header.splitlines() if line.startswith(".file"))
    text = header.replace(file, "") + ".address_size 64\n" + file + "\n" + rest
    buffer = Buffer(np.zeros(128, np.uint32))
    kernel = launch(text, buffer, grid=(3, 1), block=(4, 2))
    with pytest.raises(
        RuntimeError, match=r"kernel k at gemm\.cu:14 from gemm\.cu:30 \(ld\.global\.u32\)"
    ):
        buffer.get()
    (report,) = _cuda.reports()
    assert report["source"] == "gemm.cu:14 from gemm.cu:30"
    assert len(report["block"]) == 3 and report["thread"] == [0, 0, 0]
    assert f"0x{report['address']:x}" in report["text"]
    assert kernel


def test_place_in_three_dimensions():
    """The block and thread of a fault, counted as the kernel counts them."""
    body = """mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ctaid.y;
setp.eq.u32 %q0, %thread, 1; setp.eq.and.u32 %q0, %r1, 2, %q0; setp.eq.and.u32 %q0, %r2, 3, %q0;
setp.eq.and.u32 %q0, %r3, 1, %q0; setp.eq.and.u32 %q0, %block, 2, %q0;
@%q0 ld.global.u32 %r4, [%p0+512];"""
    buffer = Buffer(np.zeros(128, np.uint32))
    kernel = launch(source(body, 1), buffer, grid=(3, 2), block=(2, 4, 5))
    with pytest.raises(RuntimeError):
        buffer.get()
    (report,) = _cuda.reports()
    assert report["block"] == [2, 1, 0] and report["thread"] == [1, 2, 3]
    assert kernel


def test_races_can_be_left_out():
    planted = next(p for p in RACES if p.id == "write after read")
    _cuda.set_options(races=False)
    kernel = launch(
        source("{" + planted.body.replace("{x}", "") + "}", 2),
        Buffer(np.zeros(128, np.uint32)),
        Buffer(np.zeros(1024, np.uint32)),
        block=(64,),
    )
    _cuda.synchronize()
    assert _cuda.reports() == [] and kernel
