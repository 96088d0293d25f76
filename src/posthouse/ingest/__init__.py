"""The inbound edge: HTTP on the one side, receiving on the other. No framework, no model."""
