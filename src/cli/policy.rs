//! `pgkeep policy check | explain | schema`.

use super::output::Report;
use crate::base::{Error, Result};
use crate::jobs::{Context, due, prune};
use crate::policy::{self, PolicyName, explain as words, problem};

/// Reports every problem of every file; with a name, of that policy's file and of the shared one.
pub(super) fn check(cx: &Context, only: Option<&str>) -> Result<Report> {
    if let Some(name) = only {
        let name: PolicyName = name.parse()?;
        let loaded = policy::load(&cx.directory(), name.as_str())?;
        let lines: Vec<String> = loaded.warnings.iter().map(|w| format!("{w}\n")).collect();
        let text = format!("{}{} is valid\n", lines.concat(), loaded.policy.path.display());
        return Report::new(&serde_json::json!({ "policies": [name.as_str()], "problems": loaded.warnings }), text);
    }
    let report = policy::check(&cx.directory())?;
    let errors = report.problems.iter().filter(|p| p.severity == policy::Severity::Error).count();
    // The report itself lists them; the error only counts, so that nothing is said twice.
    let failure = problem::any_error(&report.problems)
        .then(|| Error::policy(format!("{errors} problems in {}", report.directory.display())));
    Ok(Report::new(&report, report.to_string())?.failing(failure))
}

/// Says in words what a policy means. What retention would keep is said of the real backups where the vault can be read, else of a simulated year.
pub(super) async fn explain(cx: &Context, name: &str) -> Result<Report> {
    let policy = cx.policy(name)?;
    let backups = prune::facts(cx, name).await.unwrap_or_default();
    let mut explanation = words::explain(&policy, backups.as_deref(), cx.clock.now());
    explanation.missed = due::missed(cx, &policy).await;
    Report::new(&explanation, explanation.to_string())
}

/// The JSON Schema of policy files.
pub(super) fn schema() -> Result<String> {
    serde_json::to_string_pretty(&policy::file::schema())
        .map(|text| format!("{text}\n"))
        .map_err(|e| Error::internal("write the schema").source(e))
}
