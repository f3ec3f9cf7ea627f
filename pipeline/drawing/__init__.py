"""Pictures and plots, without a display or a GPU."""
