//! `pgkeep policy check | explain | schema`.

use super::output::Report;
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::policy;

/// Reports every problem of every file, or of one.
pub(super) fn check(cx: &Context, only: Option<&str>) -> Result<Report> {
    let mut report = policy::check(&cx.directory())?;
    let _ = (&mut report, only);
    Err(Error::internal("x"))
}
