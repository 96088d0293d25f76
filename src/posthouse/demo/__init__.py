"""The demonstration: a node, three receivers, real events, one SIGKILL, and the books at the end."""
