"""From a fingerprint, a budget and a device to a plan."""
