//! Reading columns of catalog rows by name, with errors instead of panics.

use std::error::Error as _;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, WasNull};

use crate::base::{Error, Result};

/// Columns of a row by name.
pub(crate) trait RowExt {
    /// The column's value. A column that is missing or of another type is a bug in the query; a null where there must be a value means that
    /// the object went away meanwhile, because PostgreSQL deparses with its present catalogs and not with the snapshot.
    fn col<'a, T: FromSql<'a>>(&'a self, name: &str) -> Result<T>;

    /// A text column.
    fn text(&self, name: &str) -> Result<String> {
        self.col(name)
    }

    /// A text column that may be null.
    fn opt_text(&self, name: &str) -> Result<Option<String>> {
        self.col(name)
    }

    /// An oid column.
    fn oid(&self, name: &str) -> Result<u32> {
        self.col(name)
    }

    /// A boolean column.
    fn flag(&self, name: &str) -> Result<bool> {
        self.col(name)
    }
}

impl RowExt for Row {
    fn col<'a, T: FromSql<'a>>(&'a self, name: &str) -> Result<T> {
        self.try_get(name).map_err(|e| {
            if e.source().and_then(|cause| cause.downcast_ref::<WasNull>()).is_some() {
                Error::unavailable(format!("an object was changed or dropped while the catalogs were read (no {name})")).source(e)
            } else {
                Error::internal(format!("column {name} of a catalog query")).source(e)
            }
        })
    }
}
