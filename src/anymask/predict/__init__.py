"""Arrays and prompts to masks."""
