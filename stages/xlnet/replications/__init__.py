"""Claims of the paper made small: tasks whose best loss is known, each with its control."""
