"""Compiled kernels: the arithmetic of the convolutional networks in C, for one observation at a time.

`convolutional.c` is compiled when gadask is installed, if there is GCC on x86-64 Linux, and chooses among AVX-512 with
and without VNNI and AVX2 when it is loaded. Where it is missing, the module computes instead, in torch.
"""

from gadask.policies.kernels.library import instruction_set
from gadask.policies.kernels.network import CompiledNetwork, Convolution, Window

__all__ = ["CompiledNetwork", "Convolution", "Window", "instruction_set"]
