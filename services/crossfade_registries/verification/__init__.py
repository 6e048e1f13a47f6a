"""Hold a published output against what it says of itself, and that against keys. Reads every file once, writes none."""
