"""Drills: incidents that happened to others, made to happen on purpose, measured, and judged."""
