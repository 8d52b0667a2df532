"""Which precision a device computes fast in."""

from __future__ import annotations

import torch


def fast_bfloat16(device_type: str) -> bool:
    """Whether bfloat16 autocast is faster than float32 on this machine's device of that type ("cpu", "cuda", …)."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # on CPUs without bfloat16 instructions autocast is slower than float32
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast_dtype(precision: str, device_type: str) -> torch.dtype | None:
    """In what a model trained in one of Lightning's precisions is run on a device; None: in float32."""
    if precision == "bf16-mixed" and fast_bfloat16(device_type):
        return torch.bfloat16
    if precision == "16-mixed" and device_type == "cuda":
        return torch.float16
    return None
