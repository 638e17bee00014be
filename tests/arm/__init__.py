"""The compiled libraries on an emulated ARM processor: the same bits as on this machine."""
