"""Planted faults of Hopper's instructions: mbarriers, bulk copies, products of warpgroups."""

from planted import Planted

RULE, PROXY, COPY = "mbarrier rule", "missing proxy fence", "race with cp.async"
REGISTERS, PRODUCT, SHARED = "wgmma's registers", "race with wgmma", "race in shared memory"
ONE = """.shared .align 1024 .b8 s[4096]; .shared .align 8 .b8 bar[32]; .reg .b32 %b, %s;
.reg .pred %one, %done; mov.u32 %b, bar; mov.u32 %s, s; setp.eq.u32 %one, %thread, 0;
mad.lo.u32 %r31, %thread, 4, %s; """
MAKE = "@%one mbarrier.init.shared::cta.b64 [%b], {count}; "
OPEN = "fence.mbarrier_init.release.cluster; bar.sync 0; "
ARRIVE = "mbarrier.arrive.shared::cta.b64 _, [%b]; "
EXPECT = "@%one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%b], {bytes}; "
WAIT = (
    "{label}: mbarrier.try_wait.parity.shared::cta.b64 %done, [{at}], {parity}; "
    "@!%done bra {label}; "
)
LOAD = (
    "@%one cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
    "[{to}], [{map}, {{{{0, 0}}}}], [%b]; "
)
READ = "ld.shared.u32 %r2, [%r31]; "
W = WAIT.format(label="W", at="%b", parity=0)
LOADED = LOAD.format(to="%s", map="%m0")
# One mbarrier, that expects the bytes of a box, and then a box that comes.
EXPECTING = ONE + MAKE.format(count=1) + OPEN + EXPECT.format(bytes=512)
BEGUN = EXPECTING + LOADED
FILLED = (
    ONE
    + "mad.lo.u32 %r3, %thread, 16, %s; mov.u32 %r4, 0; "
    + "st.shared.v4.u32 [%r3], {{%r4, %r4, %r4, %r4}}; "
)
SEEN = "fence.proxy.async.shared::cta; bar.sync 0; "


def hopper(*parts, **more) -> Planted:
    """Of a kernel for sm_90a: %m0 is the map of a tensor [4, 64] of 16 bits, a box of which is all
    of it, %m1 that of [32, 64], with boxes [4, 64]."""
    return Planted(*parts, **({"target": "sm_90a", "maps": 2} | more))
