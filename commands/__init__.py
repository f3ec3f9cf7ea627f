"""What works beside the flow of stages, one room a command."""
