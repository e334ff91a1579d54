"""Statistics of a study's values. Formulas and their sources: docs/reference/study-statistics.md."""
