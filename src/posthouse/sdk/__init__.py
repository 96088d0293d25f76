"""What applications import: a client of the API and the verifying of what they receive."""
