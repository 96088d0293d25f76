"""The node's loops: ownership, windows, scheduling, sending, settling. Decisions come from core."""
