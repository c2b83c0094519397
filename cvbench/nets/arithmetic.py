"""The arithmetic of networks: exact unless said otherwise, whatever the process was set to."""

import contextlib
from collections.abc import Iterator

import torch

KINDS = ("cpu", "cuda")
"""Kinds of devices on which a caller may have switched autocast on."""


@contextlib.contextmanager
def arithmetic(tf32: bool = False) -> Iterator[None]:
    """Compute in the dtypes of the tensors, without gradients and with fixed algorithms; float32 exact unless `tf32`.

    Autocast, TF32 (cuDNN's default, which moves features in the third digit), the precision of matrix products and the
    default dtype are the caller's again afterwards.
    """
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.set_default_dtype(torch.float32)
    cudnn = torch.backends.cudnn
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=tf32))
            for kind in KINDS:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)
