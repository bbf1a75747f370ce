"""The level of intervals around volumes, which also the command line knows."""

#: Share of new patients whose truth an interval is to hold at least, unless another is asked for.
LEVEL = 0.9
