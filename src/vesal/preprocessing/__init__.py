"""From a case to network input: crop, resample, normalise, cache, patches."""
