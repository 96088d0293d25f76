"""The whole node in one thread, with virtual time, a simulated network and seeded chance: one seed is one history."""
