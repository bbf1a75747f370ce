"""DICOM as data sets and as scans to be predicted."""
