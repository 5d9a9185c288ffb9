//! What several subjects share: servers, databases, the corpus.

pub(crate) mod aws;
pub(crate) mod catalogs;
pub(crate) mod cli;
pub(crate) mod corpus;
pub(crate) mod rows;
pub(crate) mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs Prometheus's own checker; the test fails where it complains.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: Option<&str>) -> String {
    let program = std::env::var("PGKEEP_TEST_PROMTOOL").expect("PGKEEP_TEST_PROMTOOL is not set: run scripts/services start");
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("run {program}: {e}"));
    child.stdin.take().expect("stdin").write_all(input.unwrap_or_default().as_bytes()).expect("send");
    let output = child.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    said
}

/// A YAML file's documents.
#[track_caller]
pub(crate) fn yaml(path: &std::path::Path) -> Vec<serde_json::Value> {
    let python = std::env::var("PGKEEP_TEST_PYTHON").expect("PGKEEP_TEST_PYTHON is not set: run scripts/services start");
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1]))), default=str))";
    let output = Command::new(&python).args(["-c", script]).arg(path).output().unwrap_or_else(|e| panic!("run {python}: {e}"));
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Name → labels of every metric of `docs/METRICS.md`, which a unit test compares with what is exported.
pub(crate) fn documented_metrics() -> BTreeMap<String, BTreeSet<String>> {
    let quoted = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let page = include_str!("../../../docs/METRICS.md");
    let rows = page.lines().filter(|l| l.starts_with("| `")).map(|l| l.split(" | ").collect::<Vec<_>>());
    rows.map(|cells| (quoted(cells[0]).first().expect("a name").clone(), quoted(cells[1]))).collect()
}
