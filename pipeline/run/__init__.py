"""What is to be done, doing it side by side, and telling about it."""
