"""What every stage stands on.  This package knows no face and no stage by name."""
