"""What `vesal serve` takes to work beside an archive or a modality."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vesal.errors import UsageError
from vesal.serve.listening import is_loopback
from vesal.serve.pacs.pacs_settings import ArchiveSettings, NodeSettings, SendSettings, WatchSettings
from vesal.serve.serve_settings import PACS_PASSWORD_VARIABLE, PACS_TOKEN_VARIABLE
from vesal.workflow.requests.fields import Option
from vesal.workflow.requests.predict_options import DICOM_FORMATS


@dataclass(frozen=True)
class PacsSettings:
    """Where studies come from and where results go.

    Attributes:
        archive: a DICOMweb archive; None without one.
        watch: which of its studies are taken as they arrive; None for those alone that are asked for.
        studies: queries for those that are taken at the start.
        node: to which others send; None without one.
        send: a node for the results; None stores them in the archive.
        model: that segments them; '' the only one.
        to: kinds of objects that are stored.
    """

    archive: ArchiveSettings | None
    watch: WatchSettings | None
    studies: tuple[str, ...]
    node: NodeSettings | None
    send: SendSettings | None
    model: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class PacsOptions:
    """How an archive and nodes are reached.

    Raises:
        UsageError: an option asks for another that is not there.
    """

    pacs: Annotated[
        str, Option("DICOMweb archive: studies are fetched from there, results stored there.", metavar="URL")
    ] = ""
    pacs_user: Annotated[str, Option("User of the archive; its password is that of VESAL_PACS_PASSWORD.")] = (
        ""
    )
    pacs_ca: Annotated[
        Path | None, Option("Certificates (PEM) that the archive's own is checked against.")
    ] = None
    pacs_plain_http: Annotated[
        bool,
        Option("Send the password or token over http to another machine, readable for those in between."),
    ] = False
    watch: Annotated[
        str, Option("Take studies as they arrive: a part of a description, or 'Key=value ...'.")
    ] = ""
    watch_every: Annotated[float, Option("Seconds between two looks.")] = 30.0
    watch_stable: Annotated[float, Option("Seconds for which a study must not have grown.")] = 60.0
    watch_days: Annotated[
        int, Option("Look only for studies of the last so many days, by their StudyDate; 0: all.", min=0)
    ] = 0
    study: Annotated[
        tuple[str, ...],
        Option("Take the studies of this query now, such as StudyInstanceUID=1.2.3.", many=True),
    ] = ()
    node_port: Annotated[int | None, Option("Also listen as a DICOM node (C-STORE), on this port.")] = None
    node_title: Annotated[str, Option("AE title of the node.")] = "VESAL"
    node_host: Annotated[str, Option("Address the node listens on.")] = "127.0.0.1"
    node_calling: Annotated[
        tuple[str, ...], Option("AE title that may send to the node; any when not given.", many=True)
    ] = ()
    node_quiet: Annotated[float, Option("Seconds after which a study that is sent counts as whole.")] = 30.0
    send_to: Annotated[
        str, Option("Send results to this node in place of the archive.", metavar="TITLE@HOST:PORT")
    ] = ""
    pacs_model: Annotated[str, Option("Of several models, the one for studies from archive or node.")] = ""
    pacs_to: Annotated[str, Option("What is stored, with commas between.")] = "dicom-seg,rtstruct,sr"

    def __post_init__(self) -> None:
        if (self.watch or self.study) and not self.pacs:
            raise UsageError("--watch and --study ask an archive; give its address by --pacs URL.")
        if self.node_port is not None and not self.pacs and not self.send_to:
            raise UsageError(
                "Results of what the node receives have no place to go; give --send-to TITLE@HOST:PORT or --pacs URL."
            )
        if not is_loopback(self.node_host) and self.node_port is not None and not self.node_calling:
            # DICOM's own protocol has no password: who may send is known by title and address alone.
            raise UsageError(
                f"On {self.node_host} anybody could send to the node; name who may by --node-calling TITLE, or listen "
                "on 127.0.0.1."
            )
        if self.send_to and not self.pacs and self.node_port is None:
            raise UsageError(
                "--send-to sends results of studies; say where these come from, by --pacs or --node-port."
            )
        for kind in self.kinds:
            if kind not in DICOM_FORMATS:
                raise UsageError(f"--pacs-to takes {', '.join(DICOM_FORMATS)}, not '{kind}'.")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the objects that are stored."""
        return tuple(dict.fromkeys(filter(None, (part.strip() for part in self.pacs_to.split(",")))))

    def settings(self, models: list[str]) -> PacsSettings | None:
        """None where there is neither an archive nor a node.

        Args:
            models: names of those that are served.

        Raises:
            UsageError: a setting contradicts another, or the model is not served.
        """
        if not self.pacs and self.node_port is None:
            return None
        if not self.pacs_model and len(models) > 1:
            raise UsageError(
                f"Which model segments the studies? Choose by --pacs-model: {', '.join(models)}."
            )
        if self.pacs_model and self.pacs_model not in models:
            raise UsageError(f"--pacs-model names {self.pacs_model}, and there are {', '.join(models)}.")
        watch = {
            "query": self.watch, "every_s": self.watch_every, "stable_s": self.watch_stable, "days": self.watch_days,
        }  # fmt: skip
        node = {
            "port": self.node_port, "ae_title": self.node_title, "host": self.node_host,
            "calling": self.node_calling, "quiet_s": self.node_quiet,
        }  # fmt: skip
        return PacsSettings(
            archive=self._archive() if self.pacs else None,
            watch=WatchSettings.of(**watch) if self.watch else None,
            studies=self.study,
            node=None if self.node_port is None else NodeSettings.of(**node),
            send=parse_node(self.send_to, self.node_title) if self.send_to else None,
            model=self.pacs_model or models[0],
            to=self.kinds,
        )

    def _archive(self) -> ArchiveSettings:
        values: dict[str, object] = {"url": self.pacs, "plain_http": self.pacs_plain_http}
        if self.pacs_user:
            password = os.environ.get(PACS_PASSWORD_VARIABLE, "")
            if not password:
                raise UsageError(
                    f"--pacs-user wants a password; put it into the variable {PACS_PASSWORD_VARIABLE}."
                )
            values |= {"user": self.pacs_user, "password": password}
        if token := os.environ.get(PACS_TOKEN_VARIABLE, ""):
            values["token"] = token
        if self.pacs_ca is not None:
            values["ca_file"] = self.pacs_ca
        return ArchiveSettings.of(**values)


def parse_node(text: str, calling: str) -> SendSettings:
    """A node as people write it.

    >>> parse_node("ARCHIVE@pacs:104", "VESAL").port
    104

    Raises:
        UsageError: it is none.
    """
    title, at, place = text.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not at or not colon or not port.isdecimal():
        raise UsageError(f"'{text}' is no node; give TITLE@HOST:PORT, such as ARCHIVE@192.168.1.5:104.")
    return SendSettings.of(ae_title=title, host=host.strip("[]"), port=int(port), calling=calling)
