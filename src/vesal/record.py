"""Records: values that are written as JSON and read back strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vesal.errors import VesalError
from vesal.files import read_json, write_text


class Record(BaseModel):
    """Fields that are checked when they are set or read, and do not change; one that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    #: For the message about a file that holds something else: what it should hold, and the cure.
    described: ClassVar[tuple[str, str]] = ("what is expected", "delete it or name another file")
    #: What `load` reads of a folder.
    file_name: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return self.model_dump(mode="json", by_alias=True)

    def save(self, path: str | Path) -> None:
        """Write as indented JSON."""
        write_text(path, self.model_dump_json(indent=2, by_alias=True) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a JSON file of this record, or the folder's one of the name `file_name`.

        Raises:
            VesalError: the file is absent, is not JSON, or holds something else, such as another version.
        """
        path = Path(path)
        if cls.file_name and path.is_dir():
            path /= cls.file_name
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            what, cure = cls.described
            raise VesalError(f"{path} does not hold {what} ({where}: {first['msg']}); {cure}.") from error
