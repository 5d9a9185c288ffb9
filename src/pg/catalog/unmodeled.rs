//! Names what is in the catalogs and no kind covers.
