"""Results reach a node: as they are where it takes them so, converted where not, and each failure has its reason."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_examples import random_series, write_series
from orthanc_server import Orthanc, needs_orthanc

from vesal.errors import VesalError
from vesal.serve.pacs.dicom_sender import DicomSender
from vesal.serve.pacs.pacs_objects import ResultObject, result_object
from vesal.serve.pacs.pacs_settings import SendSettings
from vesal.serve.pacs.retries import Unreachable

pytest.importorskip("pynetdicom", reason="the extra serve is not installed")

CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.fixture
def objects(tmp_path: Path) -> list[ResultObject]:
    return [result_object(path) for path in write_series(tmp_path / "scan", random_series())]


def sender(port: int, **more: Any) -> DicomSender:
    values = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "wait_s": 0.01, "tries": 3} | more
    return DicomSender(SendSettings.of(**values))


class Node:
    """Another's node, which answers with these statuses and then with success."""

    def __init__(self, entity: Any, syntaxes: list[str]) -> None:
        from pynetdicom import evt

        self.statuses: list[int] = []
        self.received: list[Any] = []
        self.aborts = 0
        entity.add_supported_context(CT, syntaxes)
        entity.add_supported_context("1.2.840.10008.1.1")
        entity.require_called_aet = True
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port: int = self.server.server_address[1]

    def _store(self, event: Any) -> int:
        if self.aborts:
            self.aborts -= 1
            event.assoc.abort()
            return 0x0000
        if self.statuses and (status := self.statuses.pop(0)):
            return status
        found = event.dataset
        found.file_meta = event.file_meta
        self.received.append(found)
        return 0x0000


@pytest.fixture
def node() -> Iterator[Callable[..., Node]]:
    from pynetdicom import AE

    begun: list[Node] = []

    def start(syntaxes: list[str] | None = None, calling: list[str] | None = None) -> Node:
        entity = AE("ARCHIVE")
        entity.require_calling_aet = calling or []
        begun.append(Node(entity, syntaxes or [EXPLICIT, IMPLICIT]))
        return begun[-1]

    yield start
    for one in begun:
        one.server.ae.shutdown()


@pytest.mark.clinic
@needs_orthanc
def test_orthanc_gets_results_by_c_store_once_however_often_they_are_sent(
    orthanc: Orthanc, objects: list[ResultObject]
) -> None:
    own = sender(orthanc.dicom_port, ae_title="ORTHANC")
    assert own.reachable()
    assert own.missing(objects) == objects
    own.store(objects)
    own.store(objects)
    assert set(orthanc.instances()) == {one.instance for one in objects}


def test_where_only_implicit_syntax_is_taken_objects_are_converted(
    node: Callable[..., Node], objects: list[ResultObject]
) -> None:
    other = node([IMPLICIT])
    sender(other.port).store(objects)
    assert {one.file_meta.TransferSyntaxUID for one in other.received} == {IMPLICIT}
    assert {one.SOPInstanceUID for one in other.received} == {one.instance for one in objects}


def test_after_a_lost_association_only_the_rest_is_sent(
    node: Callable[..., Node], objects: list[ResultObject]
) -> None:
    other = node()
    other.statuses, other.aborts = [], 0
    real, count = other._store, 0

    sent: list[str] = []

    def store(event: Any) -> int:
        nonlocal count
        count += 1
        other.aborts = int(count == 3)
        sent.append(event.request.AffectedSOPInstanceUID)
        return real(event)

    from pynetdicom import evt

    other.server.unbind(evt.EVT_C_STORE, other._store)
    other.server.bind(evt.EVT_C_STORE, store)
    sender(other.port).store(objects)
    assert sent == [one.instance for one in [*objects[:3], *objects[2:]]]


def test_a_node_that_ends_the_association_after_each_object_gets_all(
    node: Callable[..., Node], objects: list[ResultObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pynetdicom import evt

    other, real = node(), DicomSender._send_one

    def send_one(own: DicomSender, association: Any, one: ResultObject) -> None:
        real(own, association, one)
        # Its end is known before the next object is sent.
        association.join(10)

    monkeypatch.setattr(DicomSender, "_send_one", send_one)
    # The answer goes out first.
    other.server.bind(evt.EVT_DIMSE_SENT, lambda event: threading.Timer(0.05, event.assoc.abort).start())
    sender(other.port, tries=1).store(objects)
    assert [one.SOPInstanceUID for one in other.received] == [one.instance for one in objects]


@pytest.mark.parametrize(
    ("status", "words"), [(0xA700, "out of resources"), (0xA900, "not what it says"), (0xC000, "see its log")]
)
def test_an_object_that_is_refused_is_told_with_the_reason(
    node: Callable[..., Node], objects: list[ResultObject], status: int, words: str
) -> None:
    other = node()
    other.statuses = [0, status]
    with pytest.raises(VesalError, match=f"{words}.*{status:04X}") as caught:
        sender(other.port).store(objects)
    assert "1.2.3" not in str(caught.value)
    assert len(other.received) == 1


@pytest.mark.parametrize("status", [0x0111, 0xB000])
def test_a_duplicate_and_a_warning_count_as_stored(
    node: Callable[..., Node], objects: list[ResultObject], status: int
) -> None:
    other = node()
    other.statuses = [status] * 5
    sender(other.port).store(objects)


def test_a_kind_that_the_node_does_not_take_is_named(node: Callable[..., Node], tmp_path: Path) -> None:
    kind = "1.2.840.10008.5.1.4.1.1.66.4"
    (one, *_) = write_series(tmp_path, random_series(kind=kind))
    with pytest.raises(VesalError, match="does not take objects of the kind Segmentation Storage"):
        sender(node().port).store([result_object(one)])


def test_a_node_that_does_not_know_us_is_told_at_once(
    node: Callable[..., Node], objects: list[ResultObject]
) -> None:
    other = node(calling=["SOMEBODY"])
    with pytest.raises(VesalError, match="refuses us as VESAL") as caught:
        sender(other.port).store(objects)
    assert not isinstance(caught.value, Unreachable)
    with pytest.raises(VesalError, match="name of the node"):
        sender(other.port, ae_title="OTHER").store(objects)
    assert not sender(other.port).reachable()


def test_where_nothing_listens_it_is_tried_and_then_told(objects: list[ResultObject]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached, tried 3 times"):
        sender(port).store(objects)
    assert not sender(port).reachable()


def test_many_kinds_are_sent_by_several_associations(objects: list[ResultObject]) -> None:
    from dataclasses import replace

    from vesal.serve.pacs.dicom_sender import _of_one_association

    many = [replace(objects[0], kind=f"1.2.{number}") for number in range(100)]
    some, pairs = _of_one_association(many)
    assert (len(some), len(pairs)) == (64, 128)
