"""Measurements: ``make bench`` runs them all and writes ``latest.json`` beside this file."""
