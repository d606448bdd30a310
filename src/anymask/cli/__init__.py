"""The terminal: parses, calls, prints; no logic of its own."""
