//! Dependency directions of the modules and fences around third-party crates, read from the sources.
