//! large_objects.
