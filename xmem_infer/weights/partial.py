"""A download that is not finished: its bytes, and which version of which address they are of."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentFault


@dataclass(frozen=True)
class PartFile:
    """`<name>.part` (the bytes) and `<name>.json.part` (their origin) beside the file they will become."""

    final: Path

    @property
    def path(self) -> Path:
        return self.final.with_name(f"{self.final.name}.part")

    @property
    def _origin(self) -> Path:
        return self.final.with_name(f"{self.final.name}.json.part")

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def resumable(self, url: str) -> tuple[int, str]:
        """(bytes received, their version) where going on is safe, else (0, "")."""
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
            if origin["url"] == url and origin["version"]:
                return self.size, str(origin["version"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no record, or one cut by a crash: the bytes' origin is unknown
        return 0, ""

    def begin(self, url: str, version: str) -> None:
        """Forget what was received and note the origin of what comes; version is empty where the server tells none."""
        try:
            self.forget()
            self._origin.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
        except OSError as error:
            raise EnvironmentFault(f"{self._origin} cannot be written: {error.strerror or error}") from error

    def forget(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the complete, checked bytes their final name in one step; an unusable file there is moved aside."""
        try:
            if self.final.exists():
                os.replace(self.final, self.final.with_name(f"{self.final.stem}.unusable{self.final.suffix}"))
            os.replace(self.path, self.final)
            self.forget()
        except OSError as error:
            raise EnvironmentFault(f"{self.path} cannot be renamed: {error.strerror or error}") from error
