"""What `import gadask` offers: everything a script or a notebook needs; all else is private by convention."""

EXPORTED = (".safetensors", ".pt2", ".onnx")
"""Suffixes of the files that a policy is exported to."""
