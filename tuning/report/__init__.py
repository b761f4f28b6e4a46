"""What came of sweeps: tables, statistics, figures, a page."""
