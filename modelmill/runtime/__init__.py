"""Run one step: its records, log, memo, inputs from outside, and tracking."""
