"""What `import gadask` offers: everything a script or a notebook needs; all else is private by convention."""
