"""The pure ground floor: values and rules, no I/O, no clock, no chance, no logging, no async."""
