"""The tracking record: its columns, its key, its changes and their merge."""
