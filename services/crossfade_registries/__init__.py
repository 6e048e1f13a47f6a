"""Where checkpoints come from and go to: a Source reads byte ranges, a Sink publishes. Bytes only, never a tensor."""
