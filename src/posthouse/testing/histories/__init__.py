"""Random histories through the API of a real node, against a model that was written from its promises.

A node runs in this process on a real store. Its loop stands still unless the test lets time pass, its
connections are memory, its receivers are scripted, and it can die at any boundary between two steps.
So every moment between two steps is quiet: whatever could happen has happened.
"""
