"""Monte Carlo for the statistical mechanics of learning."""
