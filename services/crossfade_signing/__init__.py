"""Keys, signatures and envelopes: what is signed and checked here was written elsewhere (`crossfade_core`)."""
