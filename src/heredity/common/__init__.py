"""What every room stands on: errors, files, formats, counters, random streams."""
