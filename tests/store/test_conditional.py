"""A store whose conditional writes do not hold is refused: everything that is decided once rests on them."""

from pathlib import Path

import pytest

from modelmill.store import StoreError, check_conditional_writes
from modelmill.store.folder import FolderStore


class Careless(FolderStore):
    """Takes every write, whatever its condition, as some S3 servers do."""

    def __init__(self, uri: str, *ignores: str) -> None:
        super().__init__(uri)
        self.ignores = ignores

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if "absent" not in self.ignores:
            return super().put_if_absent(key, data)
        self.put(key, data)
        return True

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        if "tag" not in self.ignores:
            return super().compare_and_swap(key, data, tag)
        self.put(key, data)
        return True


class Stubborn(FolderStore):
    """Swaps nothing."""

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        return False


@pytest.mark.parametrize("ignores", [("absent",), ("tag",), ("absent", "tag")])
def test_a_store_that_ignores_a_condition_is_refused(tmp_path: Path, ignores: tuple[str, ...]) -> None:
    store = Careless(f"file://{tmp_path}/store", *ignores)
    for check in (lambda: check_conditional_writes(store), store.check):
        with pytest.raises(StoreError, match=f"^--store {store.uri}: the store ignores conditional writes"):
            check()
    assert list(store.list("")) == []


def test_a_store_that_swaps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="conditional writes"):
        check_conditional_writes(Stubborn(f"file://{tmp_path}/store"))


def test_a_store_that_honours_them_is_left_as_it_was(tmp_path: Path) -> None:
    store = FolderStore(f"file://{tmp_path}/store")
    check_conditional_writes(store)
    assert list(store.list("")) == []
