//! `pgkeep iam-policy`.

use super::args::IamPolicyArgs;
use super::output::Report;
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::jobs::iam::document;

/// Prints the document as AWS takes it.
pub(super) async fn run(cx: &Context, args: &IamPolicyArgs) -> Result<Report> {
    let document = document(cx, args.policy.as_deref()).await?;
    let text = serde_json::to_string_pretty(&document).map_err(|e| Error::internal("write the policy document").source(e))?;
    Report::new(&document, format!("{text}\n"))
}
