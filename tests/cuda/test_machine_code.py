"""What the main loops of the machine code consist of; skipped where there is no disassembler
(CUDA's, or the wheels nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm)."""

import re

import emulated  # noqa: F401  skips this file where there are no kernels
import pytest
from ptxkernel import _cuda

from keras_native.tools import nvidia

# Image, kernels -> instructions that the loop over k (in attention over keys or queries) has, and
# such that it must not have. HMMA and IMMA are the tensor cores', HGMMA wgmma, LDSM is ldmatrix,
# LDGSTS cp.async, UTMALDG a bulk copy of a tensor, SYNCS mbarriers, LDL and STL spills.
SPILLS = {"LDL", "STL"}
TENSOR = {"HMMA", "LDSM", "LDGSTS"}, SPILLS | {"FFMA"}
WIDE = {"HMMA", "LDGSTS"}, SPILLS | {"FFMA"}
EXACT = {"FFMA", "LDS", "LDGSTS"}, SPILLS | {"HMMA"}
WEIGHTED = TENSOR[0], SPILLS  # weights of softmax between two products
WEIGHTED_GROUP = {"HGMMA", "WARPGROUP", "SYNCS", "MUFU"}, SPILLS | {"HMMA", "LDS", "STS", "UTMALDG"}
# Statistics of columns are in shared memory.
WEIGHTED_COLUMNS = WEIGHTED_GROUP[0] | {"LDS"}, WEIGHTED_GROUP[1] - {"LDS"}
# One warp group multiplies, one thread of another fetches.
GROUP = {"HGMMA", "WARPGROUP", "SYNCS"}, SPILLS | {"HMMA", "FFMA", "LDS", "STS", "UTMALDG"}
FETCH = {"UTMALDG", "SYNCS"}, SPILLS | {"HGMMA", "LDGSTS"}
# Images for one architecture alone; others are looked at for sm_80.
ARCHITECTURES = dict.fromkeys(
    ("gemm/warpgroup", "attention/warpgroup", "attention/warpgroup_grad"), "90a"
)
MAIN_LOOPS = {
    "gemm/tensor": {r"gemm_(bf16|f16)_": TENSOR, r"gemm_tf32_": WIDE},
    "gemm/exact": {r"gemm_exact_": EXACT},
    "gemm/warpgroup": {r"gemm_warpgroup_": GROUP, r"gemm_warpgroup_.*": FETCH},
    "conv/tensor": {r"conv_(bf16|f16)_": TENSOR, r"conv_tf32_": WIDE},
    "conv/exact": {r"conv_exact_": EXACT},
    "attention/tensor": {r"attention_(bf16|f16)_": WEIGHTED},
    "attention/tensor_grad": {r"attention_grad_": WEIGHTED},
    "attention/warpgroup": {r"attention_": WEIGHTED_GROUP, r"attention_.*": FETCH},
    "attention/warpgroup_grad": {
        r"attention_grad_keys": WEIGHTED_COLUMNS,
        r"attention_grad_queries": WEIGHTED_GROUP,
        r"attention_.*": FETCH,
    },
    "attention/exact": {r"attention_f32_": EXACT},
    "attention/exact_grad": {r"attention_grad_": EXACT},
}
# Kernels that learn how operands lie, or the direction, when they are launched have a main loop for
# each.
LAYOUTS = {
    ("gemm/warpgroup", r"gemm_warpgroup_"): 4,
    ("gemm/tensor", r"gemm_(bf16|f16)_"): 4,
    ("gemm/tensor", r"gemm_tf32_"): 4,
    ("conv/tensor", r"conv_(bf16|f16)_"): 3,
    ("conv/tensor", r"conv_tf32_"): 3,
}


@pytest.fixture(scope="module")
def code():
    """A function: the kernels of an image as instructions."""
    made = {}

    def disassembled(image):
        if image not in made:
            if image not in _cuda.images():
                pytest.skip(f"no image {image} in this build")
            try:
                parts = _cuda.image_fatbin(image), _cuda.image_ptx(image)
                architecture = ARCHITECTURES.get(image, "80")
                made[image] = nvidia.disassemble(*parts, architecture) or pytest.skip(
                    f"no code for sm_{architecture}"
                )
            except nvidia.ToolError as error:
                pytest.skip(str(error).splitlines()[0])
        return made[image]

    return disassembled


def main_loops(instructions, wanted):
    """The opcodes, without modifiers, of loops that have all that is wanted, the shortest first."""
    bodies = sorted(nvidia.loops(instructions), key=len)
    opcodes = ({op.split(".")[0] for op in body} for body in bodies)
    return [body for body in opcodes if wanted <= body]


@pytest.mark.parametrize("image, pattern", [(i, p) for i, ps in MAIN_LOOPS.items() for p in ps])
def test_main_loops(code, image, pattern):
    wanted, unwanted = MAIN_LOOPS[image][pattern]
    kernels = {name: rows for name, rows in code(image).items() if re.match(pattern, name)}
    assert kernels
    for name, rows in kernels.items():
        count = LAYOUTS.get((image, pattern), 1)
        bodies = main_loops(rows, wanted)[:count]
        seen = sorted({row.opcode.split(".")[0] for row in rows})
        assert len(bodies) == count, f"{name}: no loop has {sorted(wanted)}; the kernel has {seen}"
        for body in bodies:
            assert not body & unwanted, f"{name}: {sorted(body & unwanted)} in the main loop"


@pytest.mark.parametrize("image", ARCHITECTURES)
def test_products_go_on_beside_others(code, image):
    """Where ptxas does not see that registers are left alone, or has too few, it waits for each
    wgmma by itself, and its note of that is no warning."""
    for name, rows in code(image).items():
        loops = [body for body in nvidia.loops(rows) if any(op.startswith("HGMMA") for op in body)]
        assert loops
        for body in loops:
            waits = sum(op.startswith("WARPGROUP.DEPBAR") for op in body)
            assert waits < sum(op.startswith("HGMMA") for op in body), name


# The same kernel as both disassemblers print it.
CUOBJDUMP = """
\t\tFunction : k
        /*0000*/                   MOV R1, c[0x0][0x28] ;      /* 0x00000a0000017a02 */
                                                               /* 0x000fe40000000f00 */
        /*0010*/                   HMMA.16816.F32 R4, R8, R12, R4 ;  /* 0x1 */
        /*0020*/              @!P0 BRA 0x10 ;                  /* 0x2 */
        /*0030*/                   BRA 0x50 ;                  /* 0x3 */
        /*0040*/                   EXIT ;                      /* 0x4 */
"""
NVDISASM = """
.text.k:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
        /*0020*/              @!P0 BRA `(.L_x_0) ;
        /*0030*/                   BRA `(.L_x_1) ;
.L_x_1:
        /*0040*/                   EXIT ;
"""


@pytest.mark.parametrize("text", [CUOBJDUMP, NVDISASM])
def test_reading_disassemblers(text):
    code = nvidia.read_code(text)["k"]
    assert [each.opcode for each in code] == ["MOV", "HMMA.16816.F32", "BRA", "BRA", "EXIT"]
    assert [each.target for each in code][:3] == [None, None, 0x10]
    assert nvidia.loops(code) == [["HMMA.16816.F32", "BRA"]]


def test_loops_whose_parts_lie_elsewhere():
    """One part behind the end; the jump from there to the middle makes no loop."""
    rows = [("A", None), ("B", None), ("BRA", 6), ("C", None), ("BRA", 1), ("EXIT", None)]
    rows += [("D", None), ("BRA", 3)]
    code = [
        nvidia.Instruction(16 * k, op, to and 16 * to, op == "BRA" and k < 5)
        for k, (op, to) in enumerate(rows)
    ]
    assert nvidia.loops(code) == [["B", "BRA", "C", "BRA", "D", "BRA"]]


LOG = """ptxas info    : Compiling entry function 'k' for 'sm_80'
ptxas info    : Function properties for k
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 368 bytes cmem[0]
"""


def test_reading_ptxas():
    assert nvidia.read_registers(LOG) == {"k": (40, 16)}
