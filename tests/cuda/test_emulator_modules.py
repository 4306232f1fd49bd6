"""A kernel's body is read when the kernel is first asked for; what is wrong outside of bodies shows
when the module is loaded."""

import re

import numpy as np
import pytest
from ptxkernel import HEADER, Buffer, _cuda, source

pytestmark = pytest.mark.emulator

SOUND = source("st.global.u32 [%p0], 7;", 1, name="sound")
OTHER = ".visible .entry other() { frobnicate.u32; }\n"


@pytest.mark.usefixtures("h100")
@pytest.mark.parametrize("image", _cuda.images())
def test_every_kernel_of_the_library_is_known(image):
    text = _cuda.image_ptx(image)
    module, names = _cuda.Module(text), re.findall(r"\.entry (\w+)", text)
    assert names
    for name in names:
        module.kernel(name)


@pytest.mark.parametrize("text", [SOUND + OTHER, SOUND.replace(HEADER, HEADER + OTHER)])
def test_a_kernel_beside_an_unknown_one(text):
    """The unknown one is refused as often as it is asked for, with its line."""
    module, out = _cuda.Module(text), Buffer(np.zeros(1, np.uint32))
    line = text[: text.index("frobnicate")].count("\n") + 1
    for _ in range(2):
        with pytest.raises(RuntimeError, match=f"other, PTX line {line}: frobnicate.*unknown"):
            module.kernel("other")
        module.kernel("sound").launch([1], [1], [out.memory])
        assert out.get() == 7


BRACES = [
    "// }}\n",
    "/* }} { \n */",
    '.pragma "}";',
    "{ { ret; } }",
    "{ mov.u32 %r1, 1; /* { */ }",
]


@pytest.mark.parametrize("text", BRACES)
def test_braces_that_close_no_body(text):
    """Lines are counted on behind them, and behind the body."""
    whole = SOUND.replace("ret;\n", f"{text}\nret;\n") + OTHER
    module = _cuda.Module(whole)
    module.kernel("sound")
    with pytest.raises(RuntimeError, match=f"PTX line {whole.count(chr(10))}: frobnicate"):
        module.kernel("other")


@pytest.mark.parametrize(
    "text, message",
    [
        (SOUND + "}", "unknown directive '}'"),
        (SOUND + "frobnicate;", "unknown directive 'frobnicate'"),
        (SOUND + SOUND.replace(HEADER, ""), "two kernels are named 'sound'"),
        (SOUND + OTHER[:-2], "the kernel is not closed"),
        (SOUND + '.section .debug_str { "}" }' + OTHER[:-2], "the kernel is not closed"),
    ],
)
def test_refused_when_loaded(text, message):
    """With the last line, where the text is of no use."""
    with pytest.raises(RuntimeError, match=re.escape(message)) as error:
        _cuda.Module(text)
    assert f"PTX line {text.count(chr(10)) + 1}:" in str(error.value)
