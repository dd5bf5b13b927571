"""Measurements behind the figures that LinkLearner claims, one command each."""
