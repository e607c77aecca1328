"""saltus: a scaling-laws and emergence laboratory."""

__version__ = "0.1.0"
