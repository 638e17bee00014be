"""Compiled kernels: the arithmetic of the convolutional networks in C, for one observation at a time.

`convolutional.c` is compiled when gadask is installed, if there is GCC on Linux on x86-64 or on ARM in 64 bits. When it
is loaded, it chooses what the processor has: AVX-512 with or without VNNI or AVX2, NEON with or without dot products.
Where it is missing, the module computes instead, in torch.
"""

from gadask.policies.kernels.library import instruction_set
from gadask.policies.kernels.network import CompiledNetwork, Convolution, Window

__all__ = ["CompiledNetwork", "Convolution", "Window", "instruction_set"]
