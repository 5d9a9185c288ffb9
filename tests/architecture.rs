//! Dependency directions of the modules and fences around third-party crates, read from the sources.
//!
//! Rust has no lint for layers, so this test is it: an arrow that is not in the table fails, with the reason for the rule.

#![allow(clippy::expect_used, reason = "a test that cannot read the sources must fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → what it may use of ours, and why no more.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("base", &[], "base is what everything rests on"),
    ("policy", &["base"], "a policy is a value; it holds no clients"),
    ("store", &["base"], "a store knows keys and bytes, nothing of backups"),
    ("repo", &["base", "store"], "the vault knows streams, never what a table is"),
    ("pg", &["base"], "an export yields streams to a sink; it never learns where they go"),
    ("cloud", &["base"], "calls of AWS; what they are for is known above"),
    ("jobs", &["base", "policy", "store", "repo", "pg", "cloud"], "the only place where pg and cloud meet repo"),
    (
        "daemon",
        &["base", "policy", "store", "repo", "pg", "jobs"],
        "the daemon decides when; jobs know how; nobody below knows that it runs",
    ),
    ("cli", &["base", "policy", "store", "repo", "pg", "jobs", "daemon"], "commands are thin; nobody imports cli"),
    ("main", &["base", "cli"], "main ties signals and exit codes to cli"),
];

/// Crate → the path prefixes under `src/` that may name it.
const FENCES: &[(&str, &[&str])] = &[
    ("aws_sdk_s3", &["store/s3"]),
    ("aws_config", &["store/s3", "daemon/notify", "cloud/"]),
    ("aws_sdk_ec2", &["cloud/"]),
    ("aws_sdk_rds", &["cloud/"]),
    ("aws_sdk_ssm", &["cloud/"]),
    ("aws_sdk_secretsmanager", &["cloud/"]),
    ("aws_sdk_sts", &["cloud/"]),
    ("tokio_postgres", &["pg/"]),
    ("tokio_postgres_rustls", &["pg/"]),
    ("clap", &["cli/", "main.rs"]),
    ("clap_complete", &["cli/"]),
    ("comfy_table", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("croner", &["policy/schedule"]),
    ("schemars", &["policy/"]),
    ("zstd", &["repo/codec", "repo/contents"]),
    ("rand", &["base/ids"]),
    ("rustix", &["base/process"]),
    ("axum", &["daemon/web"]),
    ("lettre", &["daemon/notify"]),
    ("reqwest", &["daemon/notify"]),
    ("aws_sdk_sns", &["daemon/notify"]),
    ("tokio_cron_scheduler", &["daemon/scheduler"]),
    ("sd_notify", &["daemon/"]),
    ("prometheus_client", &["daemon/metrics"]),
    ("subtle", &["daemon/web"]),
];

const MAX_FILE_LINES: usize = 900;
const MEDIAN_FILE_LINES: usize = 200;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read source folder") {
            let path = entry.expect("folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("read source file");
                found.push((path.strip_prefix(&root).expect("below src").to_owned(), text));
            }
        }
    }
    found.sort();
    let test_only: Vec<PathBuf> = found.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    found.retain(|(path, _)| !test_only.iter().any(|t| path.starts_with(t) || path.with_extension("") == *t));
    assert!(found.len() > 50, "only {} source files found: the walk is broken", found.len());
    found
}

/// Paths without extension of the modules that `path` declares for tests only.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
        path.parent().expect("a folder").to_owned()
    } else {
        path.with_extension("")
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared =
        lines.windows(2).filter(|w| w[0] == "#[cfg(test)]").filter_map(|w| w[1].strip_prefix("mod ")?.strip_suffix(';'));
    declared.map(|name| folder.join(name)).collect()
}

/// Code without comment lines and tests, so that documentation and tests may name what code may not.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    production.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &Path) -> String {
    let first = path.iter().next().expect("path has a segment").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The names that follow `prefix::`, also inside `prefix::{a::…, b}`.
fn used_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut item)),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            names.push(item);
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names.iter().map(|n| n.trim().split("::").next().unwrap_or("").trim().to_owned()).filter(|n| !n.is_empty()).collect()
}

#[test]
fn modules_depend_only_downwards() {
    let rules: BTreeMap<_, _> = ALLOWED.iter().map(|(m, to, why)| (*m, (*to, *why))).collect();
    let ours: Vec<&str> = ALLOWED.iter().map(|(m, ..)| *m).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let (allowed, why) =
            rules.get(module.as_str()).unwrap_or_else(|| panic!("module {module} has no rule: add it to ALLOWED"));
        let prefix = if module == "main" { "pgkeep::" } else { "crate::" };
        for used in used_after(&code(&text), prefix) {
            if used != module && ours.contains(&used.as_str()) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: uses {used}, but {module} may use only {allowed:?}: {why}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn third_party_crates_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let place = path.to_string_lossy().replace('\\', "/");
        let code = code(&text);
        for (name, places) in FENCES {
            if !used_after(&code, &format!("{name}::")).is_empty() && !places.iter().any(|p| place.starts_with(p)) {
                wrong.push(format!("{place}: names {name}, which belongs in {places:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut lines: Vec<(usize, PathBuf)> = sources().into_iter().map(|(p, t)| (t.lines().count(), p)).collect();
    lines.sort();
    let (longest, path) = lines.last().expect("some file");
    assert!(*longest <= MAX_FILE_LINES, "{} has {longest} lines: look for the missing concept", path.display());
    let median = lines[lines.len() / 2].0;
    assert!(median <= MEDIAN_FILE_LINES, "median file length {median}");
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(used_after("use crate::{base::Error, store::{Key, Store}};", "crate::"), ["base", "store"]);
    assert_eq!(used_after("let x = crate::pg::connect(); mycrate::no()", "crate::"), ["pg"]);
    assert_eq!(code("// use crate::cli;\nfn f() {}"), "fn f() {}");
}
