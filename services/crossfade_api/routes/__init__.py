"""One module per resource; a route translates HTTP to a call on the ports and back, and decides nothing."""
