"""What each sender does: how it proves who it is, what its requests hold, how it wants to be answered."""
