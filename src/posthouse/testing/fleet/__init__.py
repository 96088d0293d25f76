"""A fleet of many nodes over one store, in virtual time: who owns what while nodes come, go, die and stand still.

Assignment is the real one; the store's register, the network and the nodes' loops are models of the rules that they
follow. It counts slots, not deliveries, so that 64 nodes and a million endpoints take seconds.
"""
