"""Bundles of MONAI: their configuration, transforms and networks as a plan and weights of Vesal's."""
