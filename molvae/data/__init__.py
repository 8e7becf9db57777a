"""Files of molecules and data sets: read, sniffed, split, encoded, fetched; the verb `prepare`."""
