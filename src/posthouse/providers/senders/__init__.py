"""The senders that Posthouse knows, one module each: ``PRESET`` is all of it."""
