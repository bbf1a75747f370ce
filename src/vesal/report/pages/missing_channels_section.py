"""What it costs that a channel is missing, on the report's page."""

from __future__ import annotations

from typing import Any

from vesal.infer.channels.missing_channels import MissingChannels


def missing_channels_section(found: MissingChannels) -> dict[str, Any]:
    """For the template: a note, and a row a channel."""
    return {
        "note": "The model predicts scans without a channel (vesal predict --missing CHANNEL). Held-out cases, at "
        "most 32 of a fold, were predicted once more without each channel; Dice is the mean over the classes.",
        "table": found.table(),
    }
