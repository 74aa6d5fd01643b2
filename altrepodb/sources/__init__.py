"""Web sources: each module fetches, parses and turns into rows what one site publishes."""
