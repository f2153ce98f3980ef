"""One attempt of a transfer: what is known about it, how it begins, how it ends, and who closes it otherwise."""
