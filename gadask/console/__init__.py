"""Terminal and command line: flags, progress, interrupts, scalars for TensorBoard."""
