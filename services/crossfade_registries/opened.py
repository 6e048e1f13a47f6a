"""A source opened to be planned with: the list of its files, and what is read of them, once as long as they stay.

What is kept is known by the source's pinned URI and by each file's version as the registry tells it at the moment: a
branch that moved, or a folder that changed, is another key. So a source is asked for its list each time, which also
tells that it may still be read, and a file is opened only where its like is not in the cache.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from crossfade_core.adapter import ADAPTER_CONFIG, ADAPTER_FILE
from crossfade_core.checkpoint import INDEX_FILE, CheckpointLayout
from crossfade_core.errors import CheckpointError
from crossfade_core.licence import Licence
from crossfade_core.model_config import CONFIG_FILE
from crossfade_core.own_files import CARD_FILE
from crossfade_core.ports import FileInfo, Source
from crossfade_core.vocabulary import read_vocabulary
from crossfade_registries.header_cache import HeaderCache
from crossfade_registries.licences import read_licence
from crossfade_registries.reading import read_file

_TENSOR_BYTES: Final = 400
"""A tensor's entry, its two dictionary items and its four numbers, without names and shape (CPython 3.11 to 3.13)."""
_SIZE_BYTES: Final = 40
_ID_BYTES: Final = 32

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Opened:
    """A source with the list of its files.

    Attributes:
        source: It.
        files: What it says of them.
        cache: Of what is read.
        consulted: Names of the files whose content has been asked for, beside headers and the card.
    """

    source: Source
    files: Mapping[str, FileInfo]
    cache: HeaderCache
    consulted: set[str] = field(default_factory=set)

    @property
    def is_adapter(self) -> bool:
        """Whether the folder is an adapter's, which may hold a copy of the model's config but none of its weights."""
        weights = {name for name in self.files if name.endswith(".safetensors")}
        return ADAPTER_CONFIG in self.files and (weights == {ADAPTER_FILE} or CONFIG_FILE not in self.files)

    @property
    def weight_files(self) -> list[str]:
        """Every file that says, or may say, which tensors there are."""
        return [name for name in self.files if name.endswith(".safetensors") or name == INDEX_FILE]

    def layout(self, names: Iterable[str], read: Callable[[], CheckpointLayout]) -> CheckpointLayout:
        """Return what `read` makes of these files, and of nothing else."""
        self.consulted.update({INDEX_FILE} & {*names})
        return self._recall("layout", names, read, _weigh_layout)

    def small(self, name: str, limit_bytes: int) -> bytes | None:
        """Return a small file, None where there is none.

        Raises:
            CheckpointError: It is larger than anything of its kind.
        """
        if name not in self.files:
            return None
        self.consulted.add(name)
        return self._recall("content", [name], lambda: self._read(name, limit_bytes), len)

    def vocabulary(self, names: Iterable[str], limit_bytes: int) -> Mapping[int, str] | None:
        """Return which token each id means by these files; None where they do not tell.

        Raises:
            CheckpointError: One is malformed, or larger than anything of its kind.
        """
        chosen = tuple(names)
        self.consulted.update(chosen)

        def read() -> Mapping[int, str] | None:
            return read_vocabulary({name: self._read(name, limit_bytes) for name in chosen})

        return self._recall("vocabulary", chosen, read, _weigh_vocabulary)

    def licence(self) -> Licence | None:
        """Return which licence the source's card states; None where it states none.

        Raises:
            SourceError: The card cannot be read at this moment.
        """
        if CARD_FILE not in self.files:
            return None
        return self._recall("licence", [CARD_FILE], lambda: read_licence(self.source, self.files), lambda _: 0)

    def check_readable(self, name: str) -> None:
        """See that a file that is read later can be.

        Raises:
            SourceError: It cannot.
        """

        def read() -> bool:
            self.source.read_into(name, 0, memoryview(bytearray()))
            return True

        self._recall("readable", [name], read, lambda _: 0)

    def _read(self, name: str, limit_bytes: int) -> bytes:
        info = self.files[name]
        if info.size_bytes > limit_bytes:
            raise CheckpointError(f"{name}: {info.size_bytes} bytes, over {limit_bytes}; export it again", file=name)
        return read_file(self.source, info)

    def _recall(
        self, kind: str, names: Iterable[str], read: Callable[[], _Value], weigh: Callable[[_Value], int]
    ) -> _Value:
        key = (kind, self.source.uri, tuple(self.files[name] for name in names))
        return self.cache.recall(key, read, weigh)


def _weigh_layout(layout: CheckpointLayout) -> int:
    # A name is in the header and, as another object, in the index.
    return sum(
        _TENSOR_BYTES + 2 * sys.getsizeof(tensor.name) + _SIZE_BYTES * len(tensor.shape)
        for _, tensor in layout.tensors.values()
    )


def _weigh_vocabulary(vocabulary: Mapping[int, str] | None) -> int:
    if vocabulary is None:
        return 0
    return sys.getsizeof(vocabulary) + sum(sys.getsizeof(token) + _ID_BYTES for token in vocabulary.values())
