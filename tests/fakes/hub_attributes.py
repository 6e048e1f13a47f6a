"""Which files of a repo git keeps itself and which LFS keeps for it: `.gitattributes`, and pointer files."""

import hashlib
from fnmatch import fnmatchcase

REGULAR_BYTES_MAX = 10 * 1024 * 1024
"""A larger file is never a regular one.

Source: https://huggingface.co/docs/hub/repositories-getting-started
"""

_LARGE = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*", "*.mlmodel"),
    *("*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt"),
    *("*.pth", "*.rar", "*.safetensors", "saved_model/**/*", "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm"),
    *("*.xz", "*.zip", "*.zst", "*tfevents*", "tokenizer.json"),
)

DEFAULT_ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LARGE).encode()
"""The `.gitattributes` of a new repo."""


def is_large(path: str, size_bytes: int, attributes: bytes) -> bool:
    """Tell whether a file goes to LFS: by its size, or by the last line of `.gitattributes` that matches it."""
    verdict = False
    for line in attributes.decode().splitlines():
        pattern, *settings = line.split() or [""]
        if pattern and not pattern.startswith("#") and _matches(path, pattern):
            verdict = "filter=lfs" in settings
    return verdict or size_bytes > REGULAR_BYTES_MAX


def git_oid(content: bytes) -> str:
    """Return git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size_bytes: int) -> bytes:
    """Return the file that git keeps in the place of one in LFS.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern)
