"""A Hugging Face Hub: repositories read at a commit, published by one commit."""
