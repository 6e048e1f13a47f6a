"""The way out to webhooks: which addresses may be reached, and one POST to one of them. Keeps and retries nothing."""
