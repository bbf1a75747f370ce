"""Modalities and archives send to the node: what comes is kept as it comes, and noted when it is whole."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_examples import enhanced_object, random_series, slice_objects, write_objects, write_series
from journey_examples import predict_pictures
from orthanc_server import needs_orthanc, running
from referees import needs_program

from vesal.errors import DataError, UsageError
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.dicom_node import DicomNode
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState
from vesal.serve.pacs.pacs_settings import ArchiveSettings, NodeSettings
from vesal.serve.pacs.study_journey import StudyJourney
from vesal.volume.dicom.annotations.made_by import object_bytes

pytest.importorskip("pynetdicom", reason="the extra serve is not installed")

STORED, NO_ROOM, NOT_ITSELF = 0x0000, 0xA700, 0xA900


class Received:
    """A node with the file of studies that it notes them in."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.whole = folder, threading.Semaphore(0)
        self.jobs = StudyJobs(folder / "studies.sqlite")
        chosen = NodeSettings.of(**{"port": 0, "quiet_s": 0.2} | settings)
        self.node = DicomNode(chosen, folder, self.jobs, self.whole.release)

    def files(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in (self.folder / "incoming").rglob("*.dcm"))

    def left(self) -> list[Path]:
        return list((self.folder / "receiving").iterdir())


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Received]]:
    begun: list[Received] = []

    def start(**settings: Any) -> Received:
        for one in begun:
            one.node.close()
            one.jobs.close()
        begun.append(Received(tmp_path / "node", **settings))
        begun[-1].node.start()
        return begun[-1]

    yield start
    for one in begun:
        one.node.close()


def association(
    to: Received | int, *contexts: tuple[str, str], called: str = "VESAL", calling: str = "SCANNER"
) -> Any:
    """An association with a node, or with whatever listens at a port."""
    from pynetdicom import AE

    entity = AE(calling)
    for kind, syntax in contexts:
        entity.add_requested_context(kind, syntax)
    port = to if isinstance(to, int) else to.node.port
    return entity.associate("127.0.0.1", port, ae_title=called)


def send(to: Received | int, objects: list[Any]) -> list[int]:
    """The statuses of the answers, of one association."""
    pairs = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in objects}
    opened = association(to, *sorted(pairs))
    assert opened.is_established
    statuses = [opened.send_c_store(one).Status for one in objects]
    opened.release()
    return statuses


def data_set(content: bytes) -> bytes:
    """What follows the file's own header, which the receiver writes."""
    from io import BytesIO

    from pydicom import dcmread

    header = dcmread(BytesIO(content), stop_before_pixels=True).file_meta
    return content[132 + 12 + header.FileMetaInformationGroupLength :]


# --- with DCMTK and Orthanc --------------------------------------------------------------------------------


def dcmtk(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.clinic
@needs_program("echoscu", "dcmtk")
def test_dcmtk_gets_an_echo_and_is_refused_under_another_name(begin: Callable[..., Received]) -> None:
    received = begin(calling=("SCANNER",))
    port = str(received.node.port)
    assert dcmtk("echoscu", "-aet", "SCANNER", "-aec", "VESAL", "localhost", port).returncode == 0
    assert "Called AE Title" in dcmtk("echoscu", "-aet", "SCANNER", "-aec", "OTHER", "localhost", port).stderr
    assert "Calling AE Title" in dcmtk("echoscu", "-aet", "OTHER", "-aec", "VESAL", "localhost", port).stderr


@pytest.mark.clinic
@needs_program("storescu", "dcmtk")
@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        ("", "-xe"),
        ("1.2.840.10008.1.2.5", "-xr"),
        ("1.2.840.10008.1.2.4.90", "-xv"),
        ("1.2.840.10008.1.2.4.80", "-xt"),
    ],
)
def test_dcmtk_sends_a_series_that_arrives_as_it_is(
    begin: Callable[..., Received], syntax: str, option: str, tmp_path: Path
) -> None:
    received = begin()
    objects = slice_objects(random_series(shape=(32, 32, 4)))
    for one in objects if syntax else []:
        one.compress(syntax, generate_instance_uid=False)
    paths = write_objects(tmp_path / "scan", objects)
    sent = dcmtk("storescu", "-aec", "VESAL", option, "localhost", str(received.node.port), *paths)
    assert sent.returncode == 0, sent.stderr
    assert received.whole.acquire(timeout=20)
    assert sorted(map(data_set, received.files())) == sorted(data_set(path.read_bytes()) for path in paths)
    (job,) = received.jobs.jobs()
    assert (job.study, job.series, job.state) == ("1.2.3", ("1.2.3.4",), StudyState.FOUND)
    assert received.left() == []


@pytest.mark.clinic
@needs_orthanc
def test_orthanc_routes_a_study_to_the_node_and_gets_the_results(
    begin: Callable[..., Received], tmp_path: Path
) -> None:
    received = begin()
    paths = write_series(tmp_path / "scan", random_series())
    with running(tmp_path / "orthanc", received.node.port) as orthanc:
        orthanc.add(*paths)
        orthanc.send("vesal", "1.2.3")
        assert received.whole.acquire(timeout=20)
        archive = Archive(ArchiveSettings.of(url=orthanc.url))
        work = received.folder / "work"
        journey = StudyJourney(received.jobs, work, received.node, predict_pictures, archive)
        while journey.work():
            pass
        assert received.jobs.counts()[StudyState.STORED] == 1
        assert len(orthanc.instances()) == len(paths) + 2


# --- with pynetdicom's own sender --------------------------------------------------------------------------


def test_enhanced_mr_and_pet_are_taken_and_a_plan_is_not(begin: Callable[..., Received]) -> None:
    received = begin()
    enhanced = enhanced_object(random_series(uid="1.2.3.7"))
    mr = slice_objects(random_series(uid="1.2.3.8", kind="1.2.840.10008.5.1.4.1.1.4", modality="MR"))[0]
    pet = slice_objects(random_series(uid="1.2.3.9", kind="1.2.840.10008.5.1.4.1.1.128", modality="PT"))[0]
    assert send(received, [enhanced, mr, pet]) == [STORED] * 3
    assert received.whole.acquire(timeout=20)
    assert set(received.jobs.jobs()[0].series) == {"1.2.3.7", "1.2.3.8", "1.2.3.9"}
    plan = association(received, ("1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.1.2"))
    assert not plan.accepted_contexts
    plan.release()


def test_a_study_is_whole_only_when_the_last_association_has_left_it(begin: Callable[..., Received]) -> None:
    received = begin(quiet_s=0.0)
    first, second, *others = slice_objects(random_series())
    context = (str(first.SOPClassUID), str(first.file_meta.TransferSyntaxUID))
    one, other = association(received, context), association(received, context)
    assert one.send_c_store(first).Status == other.send_c_store(second).Status == STORED
    one.release()
    # Its end is known when another's is: they are told in order.
    send(received, slice_objects(random_series(uid="1.9.1", tags={"StudyInstanceUID": "1.9"})))
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.9"]
    for left in others:
        other.send_c_store(left)
    other.release()
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.9", "1.2.3"]
    received.node.fetch("1.2.3", ["1.2.3.4"], received.folder / "out")
    assert len(list((received.folder / "out").rglob("*.dcm"))) == 5


def test_a_study_is_whole_when_its_sender_has_gone_on_to_the_next(begin: Callable[..., Received]) -> None:
    """Archives keep an association open and send study after study: on a busy day without an end."""
    received = begin(quiet_s=0.0)
    first, second = (
        slice_objects(random_series(uid=f"{study}.1", tags={"StudyInstanceUID": study}))
        for study in ("1.8", "1.9")
    )
    to = association(received, (str(first[0].SOPClassUID), str(first[0].file_meta.TransferSyntaxUID)))
    for one in [*first, second[0]]:
        assert to.send_c_store(one).Status == STORED
    assert received.whole.acquire(timeout=5)
    assert [job.study for job in received.jobs.jobs()] == ["1.8"]
    to.release()
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.8", "1.9"]


def test_instances_that_come_later_make_the_study_a_new_one_and_copies_do_not(
    begin: Callable[..., Received],
) -> None:
    received = begin(quiet_s=0.0)
    objects = slice_objects(random_series())
    send(received, objects[:3])
    assert received.whole.acquire(timeout=20)
    send(received, objects[:3])
    send(received, objects[3:])
    assert received.whole.acquire(timeout=20)
    assert [job.state for job in received.jobs.jobs()] == [StudyState.REPLACED, StudyState.FOUND]
    assert len(received.files()) == 5


def test_a_study_that_was_set_aside_is_taken_up_when_it_is_sent_again_and_not_by_a_restart(
    begin: Callable[..., Received],
) -> None:
    """As it is asked for where its files are gone: send it again."""
    objects = slice_objects(random_series())
    received = begin(quiet_s=0.0)
    send(received, objects)
    assert received.whole.acquire(timeout=20)
    received.jobs.set_aside(received.jobs.jobs()[0], "A slice is missing.")
    received = begin(quiet_s=0.0)
    assert not received.whole.acquire(timeout=0.3)
    assert [job.state for job in received.jobs.jobs()] == [StudyState.FAILED]
    send(received, objects)
    assert received.whole.acquire(timeout=20)
    assert [job.state for job in received.jobs.jobs()] == [StudyState.FOUND]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_object_that_says_it_is_another_is_refused(begin: Callable[..., Received]) -> None:
    received = begin()
    one = slice_objects(random_series())[0]
    context = (str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID))
    to = association(received, context)
    for key, value in (("StudyInstanceUID", "../../../../tmp/x"), ("SeriesInstanceUID", "")):
        bad = slice_objects(random_series())[1]
        setattr(bad, key, value)
        assert to.send_c_store(bad).Status == NOT_ITSELF
    to.release()
    assert received.files() == []
    assert received.left() == []


def test_too_large_an_object_is_refused_and_the_next_is_taken(
    begin: Callable[..., Received], caplog: pytest.LogCaptureFixture
) -> None:
    large = slice_objects(random_series(shape=(256, 256, 1), uid="1.2.3.5"))[0]
    small = slice_objects(random_series())[0]
    received = begin(most_object_bytes=100_000, most_bytes=250_000)
    with caplog.at_level(logging.WARNING):
        assert send(received, [large, small]) == [NO_ROOM, STORED]
    assert "no room" in caplog.text
    assert "1.2.3" not in caplog.text
    assert len(received.files()) == 1
    assert received.left() == []


def test_all_objects_together_stay_within_their_limit_also_after_a_restart(
    begin: Callable[..., Received],
) -> None:
    objects = slice_objects(random_series(shape=(100, 100, 5)))
    size = len(object_bytes(objects[0]))
    limits = {"most_object_bytes": 2 * size, "most_bytes": 3 * size + size // 2}
    assert send(begin(**limits), objects[:4]) == [STORED] * 3 + [NO_ROOM]
    again = begin(**limits)
    assert send(again, objects[4:]) == [NO_ROOM]
    # One that is there already may come again as long as both have room.
    assert len(again.files()) == 3


def test_a_study_of_which_objects_were_refused_waits_until_it_is_sent_again(
    begin: Callable[..., Received], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a half of it the volumes would be half."""
    whole = slice_objects(random_series(shape=(100, 100, 1), uid="1.8.1", tags={"StudyInstanceUID": "1.8"}))
    half = slice_objects(random_series(shape=(100, 100, 5)))
    size = len(object_bytes(half[0]))
    received = begin(most_object_bytes=2 * size, most_bytes=3 * size + size // 2, quiet_s=0.0)
    assert send(received, [*whole, *half]) == [STORED] * 3 + [NO_ROOM] * 3
    assert received.whole.acquire(timeout=20)
    received = begin(quiet_s=0.0, keep_s=0.0)
    assert not received.whole.acquire(timeout=0.3)
    assert [job.study for job in received.jobs.jobs()] == ["1.8"]
    assert "study-" in caplog.text
    assert "1.2.3" not in caplog.text
    received.node.expire()
    assert len(received.files()) == 1
    assert send(received, half) == [STORED] * 5
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.8", "1.2.3"]


def test_a_study_that_lost_no_object_waits_for_nothing(begin: Callable[..., Received]) -> None:
    """As where the room ends between two studies of one association."""
    one, other = (
        slice_objects(random_series(shape=(100, 100, 2), uid=f"{study}.1", tags={"StudyInstanceUID": study}))
        for study in ("1.8", "1.9")
    )
    size = len(object_bytes(one[0]))
    received = begin(most_object_bytes=2 * size, most_bytes=2 * size + 100, quiet_s=0.0)
    assert send(received, [*one, *other]) == [STORED] * 2 + [NO_ROOM] * 2
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.8"]


def test_an_association_that_breaks_off_leaves_nothing_half(begin: Callable[..., Received]) -> None:
    received = begin()
    objects = slice_objects(random_series(shape=(512, 512, 2)))
    context = (str(objects[0].SOPClassUID), str(objects[0].file_meta.TransferSyntaxUID))
    to = association(received, context)
    assert to.send_c_store(objects[0]).Status == STORED
    to.dimse_timeout = 0.5
    # Cut off after a part of the second object.
    real, sent = to.dul.socket.send, 0

    def send_some(data: bytes) -> None:
        nonlocal sent
        sent += len(data)
        if sent > 200_000:
            to.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        real(data)

    to.dul.socket.send = send_some
    to.send_c_store(objects[1])
    assert received.whole.acquire(timeout=20)
    assert len(received.files()) == 1
    assert received.left() == []


def test_no_more_associations_than_allowed_are_open_at_once(begin: Callable[..., Received]) -> None:
    received = begin(associations=2)
    context = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
    some = [association(received, context) for _ in range(2)]
    third = association(received, context)
    assert third.is_rejected
    for one in some:
        one.release()


@pytest.mark.parametrize(("networks", "allowed"), [(("127.0.0.0/8",), True), (("10.0.0.0/8", "::1"), False)])
def test_addresses_that_are_not_allowed_get_no_answer(
    begin: Callable[..., Received], networks: tuple[str, ...], allowed: bool
) -> None:
    received = begin(addresses=networks)
    to = association(received, ("1.2.840.10008.1.1", "1.2.840.10008.1.2"))
    assert to.is_established == allowed
    if allowed:
        to.release()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", bytes(range(256)) * 40]
)
def test_noise_at_the_port_disturbs_nobody(begin: Callable[..., Received], noise: bytes) -> None:
    received = begin()
    with socket.create_connection(("127.0.0.1", received.node.port)) as one:
        one.sendall(noise)
        assert send(received, slice_objects(random_series())) == [STORED] * 5
    assert received.whole.acquire(timeout=20)


def test_a_port_that_is_taken_is_told(begin: Callable[..., Received], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="another port"):
        begin(port=other.getsockname()[1])
    begin()
    second = Received(tmp_path / "second")
    with pytest.raises(UsageError, match="one DICOM node"):
        second.node.start()


def test_what_is_stored_and_old_is_deleted_and_what_waits_is_not(begin: Callable[..., Received]) -> None:
    received = begin(quiet_s=0.0, keep_s=0.0)
    for study in ("1.8", "1.9"):
        send(received, slice_objects(random_series(uid=f"{study}.1", tags={"StudyInstanceUID": study})))
        assert received.whole.acquire(timeout=20)
    first, _ = received.jobs.jobs()
    received.jobs.advance(first, StudyState.STORED)
    received.node.expire()
    assert len(received.files()) == 5
    assert received.left() == []
    with pytest.raises(DataError, match="send it again"):
        received.node.fetch("1.8", ["1.8.1"], received.folder / "out")
    received.node.fetch("1.9", ["1.9.1"], received.folder / "out")


NODE = """
import sys, threading
from pathlib import Path
from vesal.serve.pacs.dicom_node import DicomNode
from vesal.serve.pacs.pacs_jobs import StudyJobs
from vesal.serve.pacs.pacs_settings import NodeSettings
folder = Path(sys.argv[1])
node = DicomNode(NodeSettings(port=0, quiet_s=3600), folder, StudyJobs(folder / "studies.sqlite"))
node.start()
print(node.port, flush=True)
threading.Event().wait()
"""


def test_a_node_that_is_killed_notes_what_it_had_received_when_it_is_back(
    begin: Callable[..., Received], tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", NODE, str(tmp_path / "node")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        assert send(port, slice_objects(random_series())) == [STORED] * 5
        (tmp_path / "node" / "receiving" / "half.dcm").write_bytes(b"half")
        process.send_signal(signal.SIGKILL)
    received = begin()
    assert received.whole.acquire(timeout=20)
    assert [job.study for job in received.jobs.jobs()] == ["1.2.3"]
    assert len(received.files()) == 5
    assert received.left() == []
