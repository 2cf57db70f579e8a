"""What a CPU can do that decides which kernels a runtime has, as the kernel names it: ``asimdhp`` is half precision on ARM."""

from __future__ import annotations

from pathlib import Path

X86_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16")
ARM_FLAGS = ("asimd", "asimddp", "asimdhp", "fphp", "bf16", "i8mm", "sve", "sve2", "svei8mm", "svebf16", "sme")
FLAGS = (*X86_FLAGS, "amx_fp16", *ARM_FLAGS, "hypervisor")
"""Those that matter; and that this is a virtual machine."""

INTEGER_FLAGS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "svei8mm")
"""Products of 8 bits that add up in 32."""
RESTS_ON = {
    "int8": INTEGER_FLAGS,
    "int4": INTEGER_FLAGS,
    "bf16": ("avx512_bf16", "amx_bf16", "bf16", "svebf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "asimdhp", "fphp"),
}
"""A precision -> the features that its speed comes from; for 8 bits on x86 also what it computes, since sums of 16 bits overflow without them."""

SYSTEM = Path("/")


def cpu_flags(root: Path = SYSTEM) -> tuple[str, ...]:
    """Those of ``FLAGS`` that this CPU has; empty where the system does not tell. ``root`` is where the system's files are."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    have = set(next((line.partition(":")[2].split() for line in lines if line.partition(":")[0].strip() in ("flags", "Features")), []))
    return tuple(flag for flag in FLAGS if flag in have)


def rests_on(precision: str) -> tuple[str, ...]:
    """What this CPU has of the features that a precision gets its figures from: a choice that was measured here holds where all of them are."""
    return tuple(flag for flag in cpu_flags() if flag in RESTS_ON.get(precision, ()))
