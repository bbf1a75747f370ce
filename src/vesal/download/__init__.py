"""Official data sets: where they are, and their archives unpacked safely."""
