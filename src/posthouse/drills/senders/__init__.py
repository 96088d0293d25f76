"""The real senders as they behave: what they send, how long they wait, what they send again, and what they lose."""
