"""What lies in a capture folder: layouts, sequences, labels, subjects, units."""
