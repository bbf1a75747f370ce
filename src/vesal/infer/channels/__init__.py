"""Channels that a scan may lack."""
