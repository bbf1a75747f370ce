"""From one layout to another: volumes, slices and masks, with geometry and labels kept."""
