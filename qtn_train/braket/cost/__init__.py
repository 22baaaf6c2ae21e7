"""Prices, bills and estimates, before anything is sent."""
