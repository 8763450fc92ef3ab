"""Every store keeps the promise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("collab.store.contract", "collab.store.contract_outbox")

from collab.store import open_store as store_for  # noqa: E402
from collab.store.contract import Opener, StoreContract  # noqa: E402
from collab.store.contract_outbox import OutboxContract  # noqa: E402


class TestMemory(StoreContract, OutboxContract):
    @pytest.fixture
    def open_store(self) -> Opener:
        store = store_for("memory:")
        return lambda: store


class TestSQLite(StoreContract, OutboxContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Opener:
        return lambda: store_for(f"sqlite:///{tmp_path}/new folder/rooms.db")
