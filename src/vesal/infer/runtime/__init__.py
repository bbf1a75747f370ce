"""Prediction without torch: exported models on numpy, computed by ONNX Runtime or OpenVINO."""
