"""The champion of each model: its state, the rules of promotion, the statistical comparison."""
