"""Expressions (CEL) over events: filters and transformations, bounded in steps before they run."""
