"""The REST API: plans and refuses jobs from headers alone, never touches a tensor."""
