"""Images and audio as data: a manifest names files, and what is measured of each file joins its row."""
