"""cp.async.bulk.tensor: boxes of tensors, by maps of the driver's cuTensorMapEncodeTiled."""

import ml_dtypes
import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, run
from tensor_boxes import Tensor, coordinates, swizzled

pytestmark = pytest.mark.usefixtures("h100")
TARGET = "sm_90"
BEGIN = """.shared .align 1024 .b8 s[{bytes}]; .shared .align 8 .b8 bar[8]; .reg .b32 %b, %s;
.reg .pred %one, %done; mov.u32 %b, bar; mov.u32 %s, s; setp.eq.u32 %one, %thread, 0;
@%one mbarrier.init.shared::cta.b64 [%b], 1; fence.mbarrier_init.release.cluster; bar.sync 0;
"""
WAIT = """{label}: mbarrier.try_wait.parity.shared::cta.b64 %done, [%b], {parity};
@!%done bra {label};
"""
# All threads copy so many bytes of shared memory to %p0, or from there.
LOOP = """mov.u32 %r2, %thread; bra T{name};
L{name}: mad.lo.u32 %r3, %r2, 4, %s; mad.wide.u32 %rd1, %r2, 4, %p0; {copy}
add.u32 %r2, %r2, %threads; T{name}: mul.lo.u32 %r5, %r2, 4;
setp.lt.u32 %q0, %r5, {bytes}; @%q0 bra L{name};
"""


def copy_out(count):
    copy = "ld.shared.u32 %r4, [%r3]; st.global.u32 [%rd1], %r4;"
    return LOOP.format(name="O", copy=copy, bytes=count)


def copy_in(count):
    copy = "ld.global.u32 %r4, [%rd1]; st.shared.u32 [%r3], %r4;"
    return LOOP.format(name="I", copy=copy, bytes=count)


def load(at, space="shared::cluster", tile=".tile", to="%s"):
    return (
        f"@%one cp.async.bulk.tensor.{len(at)}d.{space}.global{tile}.mbarrier::complete_tx::bytes "
        f"[{to}], [%m0, {coordinates(at)}], [%b];\n"
    )


def expect(count):
    return f"@%one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%b], {count};\n"


def loaded(tensor, at, **form):
    """The bytes of shared memory after a load of the box at those indices."""
    body = "{" + BEGIN.format(bytes=tensor.bytes) + expect(tensor.bytes) + load(at, **form)
    body += WAIT.format(label="W", parity=0) + copy_out(tensor.bytes) + "}"
    out = Buffer(np.zeros(tensor.bytes, np.uint8))
    run(body, out, tensor.map, target=TARGET)
    return out.get()


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return rng.integers(1, 256, count).astype(np.uint8).view(dtype).reshape(shape)


SHAPES = [  # the tensor, the box, where boxes begin: at 16 bytes of whatever type
    ((64,), (32,), [(0,), (16,), (48,), (-16,), (64,)]),
    ((24, 48), (8, 32), [(0, 0), (3, 0), (20, 16), (-3, -16), (23, 32), (24, 0), (5, 16)]),
    ((3, 10, 32), (2, 4, 16), [(0, 0, 0), (2, 8, 16), (-1, -1, -16), (1, 3, 16)]),
    ((2, 3, 5, 16), (1, 3, 4, 16), [(0, 0, 0, 0), (1, 1, 3, 0), (-1, 0, 0, 0)]),
    ((2, 2, 3, 4, 16), (2, 1, 2, 3, 16), [(0, 0, 0, 0, 0), (1, 1, 2, 2, 0), (0, -1, 0, 0, 0)]),
]


@pytest.mark.parametrize("shape, box, places", SHAPES, ids=lambda v: str(len(v)))
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.int64])
def test_loads(shape, box, places, dtype):
    """Zeros beyond the tensor, which begins and ends within boxes."""
    tensor = Tensor(random_array(shape, dtype), box)
    for at in places:
        assert (loaded(tensor, at) == tensor.shared(at)).all(), at


@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("swizzle", ["32", "64", "128"])
def test_swizzles(swizzle, dtype):
    """Rows as wide as the swizzle."""
    columns = int(swizzle) // np.dtype(dtype).itemsize
    tensor = Tensor(random_array((40, 3 * columns), dtype), (19, columns), swizzle)
    for at in ((0, 0), (30, columns), (-5, 2 * columns + 16 // np.dtype(dtype).itemsize)):
        assert (loaded(tensor, at) == tensor.shared(at)).all(), at


@pytest.mark.parametrize("swizzle", ["64", "128"])
def test_swizzle_counts_from_its_own_multiple(swizzle):
    """A box at a multiple of 128 bytes that is none of the pattern's: addresses decide."""
    columns = int(swizzle) // 2
    tensor = Tensor(random_array((16, columns), np.float16), (8, columns), swizzle)
    body = "{" + BEGIN.format(bytes=tensor.bytes + 128) + expect(tensor.bytes)
    body += load((0, 0), to="%s+128") + WAIT.format(label="W", parity=0)
    # What lies before the box is written too, so that all can be read.
    body += "mad.lo.u32 %r6, %thread, 4, %s; mov.u32 %r7, 0; st.shared.u32 [%r6], %r7; bar.sync 0;"
    out = Buffer(np.zeros(tensor.bytes + 128, np.uint8))
    run(body + copy_out(tensor.bytes + 128) + "}", out, tensor.map, target=TARGET)
    box = np.ascontiguousarray(tensor.box_at((0, 0))).reshape(-1).view(np.uint8)
    at = np.arange(128, 128 + box.size)
    assert (out.get()[swizzled(at, swizzle)] == box).all()


def test_forms():
    tensor = Tensor(random_array((8, 16), np.float16), (4, 16))
    for form in ({"space": "shared::cta"}, {"tile": ""}):
        assert (loaded(tensor, (1, 0), **form) == tensor.shared((1, 0))).all()


def test_strides():
    """Rows with gaps, and axes in another order than memory's."""
    array = random_array((6, 4, 32), np.float16)
    for view in (array[:, :, :16], array.transpose(1, 0, 2), array[::2]):
        tensor = Tensor(array, (1, 1, 16))
        tensor.array, tensor.box = view, (2, 3, 16)
        strides = list(view.strides[-2::-1])
        sizes = list(view.shape[::-1])
        tensor.map = _cuda.tensor_map(6, tensor.buffer.memory.address, sizes, strides, [16, 3, 2])
        for at in ((0, 0, 0), (1, 2, 8)):
            assert (loaded(tensor, at) == tensor.shared(at)).all()


@pytest.mark.parametrize("stages", [1, 3])
def test_ring(stages, cuda):
    """A thread keeps stages full while four warps read them."""
    tiles = 8
    tensor = Tensor(random_array((tiles * 8, 16), np.float16, 4), (8, 16))
    inits = "".join(
        f"@%one mbarrier.init.shared::cta.b64 [%b+{16 * k}], 1;\n"
        f"@%one mbarrier.init.shared::cta.b64 [%b+{16 * k + 8}], 4;\n"
        for k in range(stages)
    )
    wait = WAIT.replace("%b", "{at}")
    step = f"""add.u32 %r4, %r4, 1; setp.eq.u32 %q1, %r4, {stages}; selp.u32 %r4, 0, %r4, %q1;
selp.u32 %r6, 1, 0, %q1; xor.b32 %r5, %r5, %r6; add.u32 %r3, %r3, 1;
setp.lt.u32 %q0, %r3, {tiles};"""
    places = "mad.lo.u32 %r7, %r4, 16, %b; mad.lo.u32 %r9, %r4, 256, %s;"
    body = f"""{{ .shared .align 1024 .b8 s[{256 * stages}];
.shared .align 8 .b8 bar[{16 * stages}]; .reg .b32 %b, %s; .reg .pred %one, %done;
mov.u32 %b, bar; mov.u32 %s, s;
setp.eq.u32 %one, %thread, 0; {inits} fence.proxy.async; bar.sync 0;
mov.u32 %r3, 0; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r11, 0;
setp.lt.u32 %q2, %thread, 128; @%q2 bra CONSUMER;
setp.ne.u32 %q2, %thread, 128; @%q2 bra END;
P: {places} xor.b32 %r6, %r5, 1; {wait.format(label="WP", at="%r7+8", parity="%r6")}
mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r7], 256; shl.b32 %r8, %r3, 3;
cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
[%r9], [%m0, {{0, %r8}}], [%r7]; {step} @%q0 bra P; bra END;
CONSUMER: mov.u32 %r12, 0;
C: {places} {wait.format(label="WC", at="%r7", parity="%r5")}
rem.u32 %r10, %thread, 64; mad.lo.u32 %r9, %r10, 4, %r9; ld.shared.u32 %r10, [%r9];
mad.lo.u32 %r11, %r11, 31, %r10; bar.warp.sync 0xffffffff; setp.eq.u32 %q3, %lane, 0;
@%q3 mbarrier.arrive.shared::cta.b64 _, [%r7+8]; {step} @%q0 bra C;
add.u64 %rd2, %p0, %off4; st.global.u32 [%rd2], %r11;
END: }}"""
    expected = np.zeros(64, np.uint32)
    for tile in tensor.array.reshape(tiles, 128).view(np.uint32):
        expected = expected * np.uint32(31) + tile
    for seed in (1, 2, 3):
        cuda.set_options(seed=seed)
        out = Buffer(np.zeros(128, np.uint32))
        run(body, out, tensor.map, block=(160,), target=TARGET)
        assert (out.get().reshape(2, 64) == expected).all()


@pytest.mark.parametrize("read", ["", ".read"])
@pytest.mark.parametrize("swizzle", ["none", "64"])
@pytest.mark.parametrize("shape, box, places", SHAPES, ids=lambda v: str(len(v)))
def test_stores(shape, box, places, swizzle, read):
    """What lies beyond the tensor is not written."""
    if swizzle != "none":
        shape, box = (*shape[:-1], 64), (*box[:-1], 32)
    rng = np.random.default_rng(5)
    # An H100 takes no store that begins before the tensor.
    for at in (at for at in places if min(at) >= 0):
        tensor = Tensor(np.zeros(shape, np.float16), box, swizzle)
        values = rng.integers(1, 30000, box).astype(np.uint16)
        source = Tensor(values.view(np.float16), box, swizzle).shared((0,) * len(box))
        body = "{" + BEGIN.format(bytes=tensor.bytes) + copy_in(tensor.bytes)
        body += f"""fence.proxy.async.shared::cta; bar.sync 0;
@%one cp.async.bulk.tensor.{len(at)}d.global.shared::cta.tile.bulk_group
[%m0, {coordinates(at)}], [%s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group{read} 0; }}"""
        run(body, Buffer(source), tensor.map, target=TARGET)
        expected = np.zeros(shape, np.uint16)
        inside, index = tensor.places(at)
        expected[tuple(i[inside] for i in index)] = values[inside]
        assert (tensor.buffer.get().view(np.uint16) == expected).all()


def test_prefetch():
    tensor = Tensor(random_array((8, 16), np.float16), (4, 16))
    run("prefetch.tensormap [%m0];", tensor.map, target=TARGET)


REFUSED = {  # what is wrong with a map of a (32, 64) array of float16
    "address": {"address": 8},
    "six axes": {"sizes": [8] * 6, "strides": [16] * 5, "box": [8] * 6},
    "empty axis": {"sizes": [64, 0]},
    "stride": {"strides": [136]},
    "large stride": {"strides": [1 << 40]},
    "empty box": {"box": [64, 0]},
    "large box": {"box": [64, 257]},
    "narrow box": {"box": [4, 8]},
    "wide for its swizzle": {"box": [64, 8], "swizzle": 2},
    "unknown swizzle": {"swizzle": 9},
    "unknown type": {"type": 99},
    "no step": {"steps": [1, 0]},
    "large step": {"steps": [1, 9]},
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_refused_maps(wrong, h100):
    right = {
        "type": 6,
        "address": 0,
        "sizes": [64, 32],
        "strides": [128],
        "box": [64, 8],
        "swizzle": 3,
    }
    memory = Buffer(np.zeros((32, 64), np.float16)).memory

    def make(**parts):
        parts["address"] += memory.address
        return h100.tensor_map(**parts)

    assert len(make(**right)) == 128
    with pytest.raises(RuntimeError, match="INVALID_VALUE"):
        make(**right | wrong)


@pytest.mark.emulator
def test_not_on_older_gpus(cuda):
    cuda.emulate("A100")
    with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
        cuda.tensor_map(6, 1 << 44, [64, 32], [128], [64, 8])
