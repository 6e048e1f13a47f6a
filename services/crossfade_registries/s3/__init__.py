"""Buckets of S3-compatible stores: ranged reads pinned by ETag, multipart uploads that stay open until the commit."""
