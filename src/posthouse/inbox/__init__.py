"""What happens behind the answer to a sender: a request is checked, read, routed and passed on, once."""
