"""Pre-training on synthetic crowds; the only part of the core, with the torch backend, that
needs torch. Importing this package does not import it."""
