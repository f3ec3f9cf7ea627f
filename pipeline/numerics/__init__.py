"""Linear models and statistics; knows no face."""
