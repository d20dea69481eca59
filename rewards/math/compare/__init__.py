"""Whether two trees say the same: by structure, then exactly, then numerically."""
