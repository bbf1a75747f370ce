"""Sends results to a DICOM node by C-STORE (PS3.4 B), for archives without DICOMweb."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from vesal.errors import VesalError
from vesal.serve.pacs.libraries import library
from vesal.serve.pacs.pacs_objects import ResultObject
from vesal.serve.pacs.pacs_settings import SendSettings
from vesal.serve.pacs.retries import Passing, tried
from vesal.text import listed
from vesal.volume.dicom.identity import pseudonym

_VERIFICATION = "1.2.840.10008.1.1"
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
#: An association takes so many presentation contexts (PS3.8 9.3.2.2).
_MOST_CONTEXTS = 128
#: Statuses that mean the object is there: stored, stored with a change, a duplicate (PS3.4 B.2.3, PS3.7 C).
_THERE = (0x0000, 0xB000, 0xB006, 0xB007, 0x0111)
_REFUSED = {0xA7: "it is out of resources", 0xA9: "the object is not what it says it is"}


class DicomSender:
    """A node that takes results."""

    def __init__(self, settings: SendSettings, stop: threading.Event | None = None) -> None:
        """Makes no connection; `stop` ends the waiting between tries.

        Raises:
            UsageError: the extra `serve` is not installed.
        """
        self.settings = settings
        self._stop = stop or threading.Event()
        self._netdicom = library("pynetdicom")
        # The bytes of a file go out as they are, a piece at a time.
        configuration: Any = library("pynetdicom._config")
        configuration.STORE_SEND_CHUNKED_DATASET = True

    @property
    def _where(self) -> str:
        return f"{self.settings.ae_title} at {self.settings.host}:{self.settings.port}"

    def reachable(self) -> bool:
        """Whether the node answers a C-ECHO."""
        try:
            with self._association([(_VERIFICATION, _IMPLICIT)]) as association:
                status = association.send_c_echo()
        except (Passing, VesalError):
            return False
        return getattr(status, "Status", None) == 0x0000

    def missing(self, objects: Sequence[ResultObject]) -> list[ResultObject]:
        """All of them: a node that takes objects need not tell which it has; one sent twice is kept once."""
        return list(objects)

    def store(self, objects: Sequence[ResultObject]) -> None:
        """Send objects.

        Raises:
            VesalError: the node refuses one, or the association; the message says why.
            Unreachable: it does not answer, after all tries.
        """
        left = list(objects)
        settings = self.settings
        tried(
            lambda: self._send(left),
            settings.tries,
            (settings.wait_s, settings.most_wait_s),
            self._stop,
            lambda reason: (
                f"{self._where} {reason}, tried {settings.tries} times; check that it runs, its address and port."
            ),
        )

    def _send(self, left: list[ResultObject]) -> None:
        """Send those that are left, and take each out that is there; some nodes take one object an association."""
        while left:
            some, pairs = _of_one_association(left)
            before = len(left)
            try:
                with self._association(pairs) as association:
                    for one in some:
                        self._send_one(association, one)
                        left.remove(one)
            except Passing:
                if len(left) == before:
                    raise

    def _send_one(self, association: Any, one: ResultObject) -> None:
        accepted = {
            (str(context.abstract_syntax), str(syntax))
            for context in association.accepted_contexts
            for syntax in context.transfer_syntax
        }
        what: Any = one.path
        if (one.kind, one.syntax) not in accepted:
            if one.syntax != _EXPLICIT or (one.kind, _IMPLICIT) not in accepted:
                raise self._unknown_kind(library("pydicom.uid").UID(one.kind).name)
            what = library("pydicom").dcmread(one.path)
        try:
            status = association.send_c_store(what)
        except RuntimeError as error:
            # So pynetdicom tells of an association that the node has ended since the last object.
            raise Passing("lost the connection") from error
        code = getattr(status, "Status", None)
        if code is None:
            raise Passing("lost the connection")
        if code not in _THERE:
            why = _REFUSED.get(code >> 8, "see its log")
            raise VesalError(
                f"{self._where} refused an object of {pseudonym('study', one.study)} ({why}, status {code:04X}); "
                "correct that there."
            )

    @contextlib.contextmanager
    def _association(self, pairs: Sequence[tuple[str, str]]) -> Iterator[Any]:
        """An association for objects of these (SOP class, transfer syntax).

        Raises:
            VesalError: it is refused for good.
            Passing: it may be accepted later.
        """
        entity = self._netdicom.AE(ae_title=self.settings.calling)
        entity.connection_timeout = entity.acse_timeout = self.settings.timeout_s
        entity.dimse_timeout = entity.network_timeout = self.settings.timeout_s
        for kind, syntax in pairs:
            entity.add_requested_context(kind, syntax)
        association = entity.associate(
            self.settings.host, self.settings.port, ae_title=self.settings.ae_title
        )
        if not association.is_established:
            raise self._no_association(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _no_association(self, association: Any) -> Exception:
        primitive = association.acceptor.primitive
        if primitive is not None and primitive.result == 0x00 and not association.accepted_contexts:
            uid = library("pydicom.uid").UID
            kinds = {uid(one.abstract_syntax).name for one in association.requestor.requested_contexts}
            return self._unknown_kind(listed(sorted(kinds), 3))
        if not association.is_rejected or primitive is None:
            return Passing("cannot be reached")
        # PS3.8 9.3.4: 1 is for good, 2 for now.
        if primitive.result == 0x02:
            return Passing("takes no further association now")
        return VesalError(
            f"{self._where} refuses us as {self.settings.calling} ({primitive.reason_str}); enter this AE title there, "
            "and check the name of the node."
        )

    def _unknown_kind(self, name: str) -> VesalError:
        return VesalError(f"{self._where} does not take objects of the kind {name}; allow it there.")


def _of_one_association(
    objects: Sequence[ResultObject],
) -> tuple[list[ResultObject], list[tuple[str, str]]]:
    """Objects that one association takes, and its pairs of SOP class and transfer syntax."""
    some: list[ResultObject] = []
    pairs: dict[tuple[str, str], None] = {}
    for one in objects:
        own = [(one.kind, one.syntax), *([(one.kind, _IMPLICIT)] if one.syntax == _EXPLICIT else [])]
        if len(pairs.keys() | set(own)) > _MOST_CONTEXTS:
            break
        pairs.update(dict.fromkeys(own))
        some.append(one)
    return some, list(pairs)
