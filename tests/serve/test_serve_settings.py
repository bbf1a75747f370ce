"""What a server may do: contradictions are refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.serve.serve_settings import ServeSettings, named_models, read_token


def test_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="both be the model heart"):
        named_models([Path("a/heart.vesal"), Path("b/heart.vesal")])


def test_a_server_needs_a_model_and_a_port() -> None:
    with pytest.raises(UsageError, match="no model"):
        ServeSettings(state=Path("state"), models={})
    with pytest.raises(UsageError, match="65535"):
        ServeSettings(state=Path("state"), models={"a": Path("a")}, port=70000)


def test_a_token_comes_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "0123456789abcdef"
    monkeypatch.setenv("VESAL_TOKEN", "fedcba9876543210")
    assert read_token(None) == "fedcba9876543210"
    file.write_text("")
    with pytest.raises(UsageError, match="is empty"):
        read_token(file)


@pytest.mark.parametrize("token", ["schlüssel-0123456789", "line\n0123456789abcdef"])
def test_a_token_that_no_request_can_bring_is_refused(token: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="characters that a request cannot bring"):
        ServeSettings(state=tmp_path, models={"heart": tmp_path / "heart.vesal"}, token=token)
