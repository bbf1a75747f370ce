"""DICOM: series of slices to volumes, and segmentations, structure sets and reports from and to it."""
