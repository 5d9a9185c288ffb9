//! Counts the catalogs with queries of their own and compares with what was rendered: no kind may lose an object.
