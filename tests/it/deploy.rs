//! What is in `deploy/` and what `docs/OPERATIONS.md` says of it, checked with the tools that will read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgkeep::policy;
use serde_json::Value;

use crate::support::{documented_metrics, promtool, yaml};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn deploy(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page(name: &str) -> String {
    text(&repository().join("docs").join(name))
}

/// Each metric that a PromQL expression names, with the labels that it selects by.
fn named(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(word) {
        let name: String = rest[start..].chars().take_while(|c| word(*c)).collect();
        rest = &rest[start + name.len()..];
        if name.starts_with("pgkeep_") || name.starts_with("process_") {
            let selector = rest.strip_prefix('{').and_then(|s| s.split('}').next()).unwrap_or_default();
            let labels =
                selector.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(str::trim).filter(|l| !l.is_empty());
            found.push((name, labels.map(str::to_owned).collect()));
        }
        // What stands in quotes is no name.
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted.split_once('"').map_or("", |(_, after)| after);
        }
    }
    found
}

/// Labels that Prometheus adds.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

#[track_caller]
fn only_what_is_documented(place: &str, expression: &str) {
    let documented = documented_metrics();
    let names = named(expression);
    for (name, labels) in names {
        let known = documented.get(&name).unwrap_or_else(|| panic!("{place}: {name} is not in docs/METRICS.md: {expression}"));
        let strange: Vec<_> = labels.iter().filter(|l| !known.contains(*l) && !OF_THE_SCRAPE.contains(&l.as_str())).collect();
        assert!(strange.is_empty(), "{place}: {name} has no label {strange:?}: {expression}");
    }
}

/// The rules of `alerts.yml` by name.
fn alerts() -> BTreeMap<String, Value> {
    let rules = yaml(&deploy("prometheus/alerts.yml"));
    let groups = rules[0]["groups"].as_array().expect("groups").clone();
    let rules = groups.iter().flat_map(|g| g["rules"].as_array().expect("rules").clone());
    rules.map(|r| (r["alert"].as_str().expect("a name").to_owned(), r)).collect()
}

#[test]
fn alert_rules_hold_what_they_promise() {
    promtool(&["check", "rules", deploy("prometheus/alerts.yml").to_str().expect("UTF-8")], None);
    promtool(&["test", "rules", deploy("prometheus/alerts.test.yml").to_str().expect("UTF-8")], None);
    let (alerts, tests, operations) = (alerts(), text(&deploy("prometheus/alerts.test.yml")), page("OPERATIONS.md"));
    assert!(alerts.len() > 10);
    for (name, rule) in &alerts {
        let expression = rule["expr"].as_str().expect("an expression");
        only_what_is_documented(name, expression);
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
        assert!(
            tests.contains(&format!("alertname: {name}")) || tests.contains(&format!("alertname=\"{name}\"")),
            "{name} is never fired by a test"
        );
        for part in ["summary", "description"] {
            assert!(rule["annotations"][part].as_str().is_some_and(|t| !t.is_empty()), "{name}: {part}");
        }
    }
    let explained: BTreeSet<String> =
        operations.lines().filter_map(|l| l.strip_prefix("### Pgkeep")).map(|n| format!("Pgkeep{n}")).collect();
    assert_eq!(explained, alerts.keys().cloned().collect(), "docs/OPERATIONS.md has one section an alert");
}

#[test]
fn configurations_of_prometheus_are_valid() {
    for path in ["prometheus/scrape.yml", "compose/prometheus.yml"] {
        promtool(&["check", "config", "--syntax-only", deploy(path).to_str().expect("UTF-8")], None);
        let jobs = yaml(&deploy(path))[0]["scrape_configs"].as_array().expect("jobs").clone();
        assert_eq!(jobs[0]["job_name"], "pgkeep", "{path}: the alert rules count on it");
    }
}

/// Every expression of the dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|v| expressions(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| expressions(v, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let board: Value = serde_json::from_str(&text(&deploy("grafana/pgkeep.json"))).expect("JSON");
    let mut found = Vec::new();
    expressions(&board, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expression) in found.iter().enumerate() {
        only_what_is_documented("the dashboard", expression);
        assert!(!named(expression).is_empty(), "{expression}");
        let filled = serde_json::to_string(&expression.replace("$policy", ".*")).expect("quote");
        let _ = writeln!(rules, "      - {{ record: 'dashboard:{number}', expr: {filled} }}");
    }
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("dashboard.yml");
    std::fs::write(&file, rules).expect("write");
    promtool(&["check", "rules", file.to_str().expect("UTF-8")], None);
    let mut ids = BTreeSet::new();
    for panel in board["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the id {}", panel["id"]);
    }
}

/// Fails the test unless the binary takes these arguments, as a service or container would give them.
#[track_caller]
fn takes(place: &str, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgkeep")).args(arguments).arg("--help").output().expect("run pgkeep");
    assert!(output.status.success(), "{place}: pgkeep {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// `key=value` lines of a unit's file, the last of each key.
fn settings(unit: &str) -> BTreeMap<String, String> {
    unit.lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

#[test]
fn the_systemd_unit_is_valid_and_locked_down() {
    let unit = text(&deploy("systemd/pgkeep.service"));
    let settings = settings(&unit);
    for (key, value) in [
        ("Type", "notify"),
        ("User", "pgkeep"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("Restart", "always"),
        ("KillMode", "control-group"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("EnvironmentFile", "-/etc/pgkeep/pgkeep.env"),
    ] {
        assert_eq!(settings.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(settings.contains_key("WatchdogSec"));
    let users = Command::new("systemd-sysusers")
        .arg("--dry-run")
        .arg(deploy("systemd/pgkeep.sysusers"))
        .output()
        .expect("run systemd-sysusers");
    assert!(users.status.success(), "systemd-sysusers: {}", String::from_utf8_lossy(&users.stderr));
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pgkeep.service");
    let drop_in = text(&deploy("systemd/credentials.conf"));
    for more in ["", drop_in.as_str()] {
        let whole = format!("{unit}\n{more}");
        let started: Vec<&str> = whole.lines().filter_map(|l| l.strip_prefix("ExecStart=/usr/local/bin/pgkeep ")).collect();
        let command = started.last().expect("ExecStart").replace("%d", "/run/credentials/pgkeep.service");
        takes("pgkeep.service", &command.split(' ').collect::<Vec<_>>());
        // The binary is not where an installation has it, and a unit's drop-in is read from beside it.
        std::fs::write(&file, whole.replace("/usr/local/bin/pgkeep", env!("CARGO_BIN_EXE_pgkeep"))).expect("write");
        for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=20"]] {
            let output = Command::new("systemd-analyze").args(arguments).arg(&file).output().expect("run systemd-analyze");
            let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "systemd-analyze {}: {said}", arguments.join(" "));
            // A key that is not known is no failure to `verify`.
            assert!(arguments[0] != "verify" || said.trim().is_empty(), "systemd-analyze verify: {said}");
        }
    }
}

#[test]
fn containers_run_what_there_is_and_as_nobody() {
    let file = text(&deploy("container/Dockerfile"));
    let stages: Vec<&str> = file.split("\nFROM ").skip(1).collect();
    let named: Vec<&str> = stages.iter().filter_map(|s| s.lines().next()?.rsplit_once(" AS ").map(|(_, name)| name)).collect();
    assert_eq!(named, ["build", "binary", "drill", "pgkeep"], "the last one is what `docker build` makes");
    for stage in stages.iter().filter(|s| s.contains("ENTRYPOINT")) {
        let user = stage.lines().find_map(|l| l.strip_prefix("USER ")).expect("USER");
        assert!(!["root", "0", "0:0"].contains(&user), "{user}");
        let command = stage.lines().find_map(|l| l.strip_prefix("CMD ")).expect("CMD");
        let arguments: Vec<String> = serde_json::from_str(command).expect("CMD is a list");
        takes("Dockerfile", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let compose = yaml(&deploy("compose/compose.yaml"));
    for (name, service) in compose[0]["services"].as_object().expect("services") {
        for port in service["ports"].as_array().expect("ports") {
            assert!(port.as_str().is_some_and(|p| p.starts_with("127.0.0.1:")), "{name} is published to everybody: {port}");
        }
    }
    let service = &compose[0]["services"]["pgkeep"];
    let arguments: Vec<&str> = service["command"].as_array().expect("command").iter().filter_map(Value::as_str).collect();
    takes("compose.yaml", &arguments);
    assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&Value::Bool(true), &Value::from("ALL")));
}

#[test]
fn the_cronjob_of_kubernetes_runs_what_there_is() {
    let documents = yaml(&deploy("kubernetes/cronjob.yaml"));
    let of = |kind: &str| documents.iter().filter(|d| d["kind"] == kind).collect::<Vec<_>>();
    let folder = tempfile::tempdir().expect("folder");
    for (name, policy) in of("ConfigMap")[0]["data"].as_object().expect("policies") {
        std::fs::write(folder.path().join(name), policy.as_str().expect("text")).expect("write");
    }
    let report = policy::check(folder.path()).expect("read policies");
    assert!(report.problems.is_empty(), "{report}");
    assert_eq!(of("CronJob").len(), 2);
    for job in of("CronJob") {
        assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
        let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for container in ["initContainers", "containers"].iter().flat_map(|k| pod[*k].as_array().cloned().unwrap_or_default()) {
            let arguments: Vec<&str> = container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
            takes("cronjob.yaml", &arguments);
            assert!(report.policies.iter().any(|p| arguments[1] == p.name.as_str()), "{arguments:?}");
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        }
    }
}

/// The request of the SDK → what IAM calls the right to send it.
const RIGHTS: &[(&str, &str)] = &[
    ("get_object", "s3:GetObject"),
    ("head_object", "s3:GetObject"),
    ("put_object", "s3:PutObject"),
    ("delete_object", "s3:DeleteObject"),
    ("list_objects_v2", "s3:ListBucket"),
    ("publish", "sns:Publish"),
];

#[test]
fn the_iam_policy_allows_what_is_called_and_no_more() {
    let mut called = BTreeSet::new();
    for file in ["src/store/s3.rs", "src/store/s3/connect.rs", "src/daemon/notify/sns.rs"] {
        let code = text(&repository().join(file));
        // What begins a request is a method of the client without arguments.
        let compact: String = code.split_whitespace().collect();
        for (at, client) in ["client.", "Client::new(&config)."].iter().flat_map(|c| compact.match_indices(c)) {
            let rest = &compact[at + client.len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect();
            if rest[name.len()..].starts_with("()") && !name.is_empty() {
                let right = RIGHTS.iter().find(|(request, _)| *request == name).map(|(_, right)| (*right).to_owned());
                called.insert(right.unwrap_or_else(|| panic!("{file} sends {name}: which right does it need?")));
            }
        }
    }
    assert!(called.len() >= 5, "{called:?}");
    let page = page("OPERATIONS.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut allowed = BTreeSet::new();
    let mut seen = 0;
    for policy in blocks.filter_map(|b| serde_json::from_str::<Value>(b).ok()).filter(|p| p["Version"] == "2012-10-17") {
        seen += 1;
        for statement in policy["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow");
            assert_ne!(statement["Resource"], "*", "{statement}");
            allowed.extend(statement["Action"].as_array().expect("actions").iter().filter_map(|a| a.as_str().map(str::to_owned)));
        }
    }
    assert!(seen >= 1, "docs/OPERATIONS.md shows the policy");
    // Keys of KMS are used by S3 on our behalf.
    let of_kms: BTreeSet<String> = ["kms:GenerateDataKey", "kms:Decrypt"].map(str::to_owned).into();
    assert_eq!(allowed.difference(&of_kms).cloned().collect::<BTreeSet<_>>(), called);
}
