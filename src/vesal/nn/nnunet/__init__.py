"""Models of nnU-Net v2: their plans and weights as Vesal's, and the way back."""
