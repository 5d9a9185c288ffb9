use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;
use crate::base::ids::RunId;
use crate::daemon::state::{CurrentRun, Reload, SlotState, State};
use crate::jobs::health::PolicyStatus;
use crate::repo::lease::{Holder, Owner, Purpose};
use crate::repo::runs::{Run, RunKind, RunStage, RunState};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("time")
}

fn run(kind: RunKind, stages: &[(&str, f64, u64)]) -> Run {
    let mut run = Run::start(RunId::generate(at(0)), kind, at(0), "host", None);
    run.stages = stages
        .iter()
        .map(|(name, seconds, bytes)| RunStage { name: (*name).to_owned(), seconds: *seconds, bytes: *bytes })
        .collect();
    run.stats = serde_json::json!({ "parts": 10, "new_parts": 3, "plain_bytes": 1000, "stored_bytes": 400, "new_stored_bytes": 100,
        "rows": 77, "objects": 12, "tables": 5 });
    run.end(at(50), Ok(()));
    run
}

/// A daemon that has something to say under every name.
fn busy() -> Snapshot {
    let state = State::new("host", at(0), 2);
    let status = PolicyStatus {
        policy: "p".to_owned(),
        healthy: true,
        problems: Vec::new(),
        backups: 4,
        newest: None,
        consistent_at: Some(at(10)),
        age_seconds: Some(0),
        max_age_seconds: Some(100),
        last_proven: None,
        last_proof_at: Some(at(20)),
        restore_seconds: Some(2.5),
        last_run: Some(RunState::Succeeded),
        next_run: None,
        notifications_failed: 0,
    };
    let owner = Owner { host: "elsewhere".to_owned(), pid: 1, command: "serve".to_owned(), process: None };
    let lease = Holder { owner, purpose: Purpose::Write, acquired_at: at(0), expires_at: at(60), generation: 3, ours: false };
    let slot = SlotState { starts_at: Some(at(90)), next: Some(at(3600)), missed: 2, failed_attempts: 1, ..SlotState::default() };
    let current = CurrentRun {
        run: RunId::generate(at(70)),
        kind: RunKind::Verify,
        slot: None,
        label: None,
        backup: None,
        stage: "restore".to_owned(),
        started_at: at(70),
        stage_started_at: at(71),
        bytes: 99,
        total_bytes: None,
        progress_at: at(72),
    };
    let backup = run(RunKind::Backup, &[("catalog", 1.0, 0), ("rows", 2.0, 5), ("rows", 3.0, 6)]);
    let mut policy = PolicyState {
        max_age_seconds: Some(100),
        status: Some(status),
        checked_at: Some(at(30)),
        current: Some(current),
        lease: Some(lease),
        backup: Some(slot.clone()),
        verify: Some(SlotState { starts_at: None, given_up: Some("why".to_owned()), ..slot }),
        last: [(RunKind::Backup, backup.clone())].into(),
        last_success: Some(backup),
        retries: 7,
        notifications_pending: 1,
        notifications_failed: 2,
        ..PolicyState::default()
    };
    policy.count(RunKind::Backup, RunState::Succeeded);
    policy.count(RunKind::Backup, RunState::Succeeded);
    state.with(|s| {
        s.reload = Some(Reload { at: at(5), ok: false, error: Some("bad".to_owned()), loaded_at: Some(at(1)) });
        s.queue.push("q".to_owned());
        s.policies.insert("p".to_owned(), policy);
    });
    state.snapshot()
}

fn text_at(snapshot: Snapshot, second: i64) -> String {
    render(snapshot, at(second), ProcessStats::read()).expect("render")
}

#[track_caller]
fn says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "no line '{line}' in\n{text}");
    }
}

#[test]
fn every_name_of_the_page_is_exported_and_no_other() {
    let page = include_str!("../../../docs/METRICS.md");
    let documented: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
    let expected: Vec<String> = all()
        .map(|m| {
            let labels: Vec<String> = m.labels.iter().map(|l| format!("`{l}`")).collect();
            format!("| `{}` | {} | {} |", m.name, labels.join(", "), m.help)
        })
        .collect();
    assert_eq!(documented, expected, "the rows of docs/METRICS.md must be:\n{}", expected.join("\n"));
    let text = text_at(busy(), 80);
    let exported: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(exported, all().map(|m| m.name).collect(), "a daemon that has something to say under every name");
}

#[test]
fn samples_are_what_the_state_holds() {
    says(
        &text_at(busy(), 80),
        &[
            "# TYPE pgkeep_runs_total counter",
            "# TYPE pgkeep_backups gauge",
            "pgkeep_ready 1.0",
            "pgkeep_policies_reload_ok 0.0",
            "pgkeep_queue_length 1.0",
            "pgkeep_policy_healthy{policy=\"p\"} 1.0",
            "pgkeep_backup_age_seconds{policy=\"p\"} 70.0",
            "pgkeep_backup_max_age_seconds{policy=\"p\"} 100.0",
            "pgkeep_last_backup_timestamp_seconds{policy=\"p\"} 1800000010.0",
            "pgkeep_last_success_timestamp_seconds{policy=\"p\"} 1800000050.0",
            "pgkeep_last_run_duration_seconds{policy=\"p\",kind=\"backup\"} 50.0",
            "pgkeep_last_run_stage_seconds{policy=\"p\",kind=\"backup\",stage=\"rows\"} 5.0",
            "pgkeep_last_run_stage_bytes{policy=\"p\",kind=\"backup\",stage=\"rows\"} 11.0",
            "pgkeep_last_backup_reused_parts{policy=\"p\"} 7.0",
            "pgkeep_last_backup_rows{policy=\"p\"} 77.0",
            "pgkeep_lease{policy=\"p\",holder=\"other\"} 1.0",
            "pgkeep_lease{policy=\"p\",holder=\"us\"} 0.0",
            "pgkeep_next_run_timestamp_seconds{policy=\"p\",kind=\"backup\"} 1800000090.0",
            "pgkeep_next_run_timestamp_seconds{policy=\"p\",kind=\"verify\"} 1800003600.0",
            "pgkeep_slot_given_up{policy=\"p\",kind=\"verify\"} 1.0",
            "pgkeep_runs_total{policy=\"p\",kind=\"backup\",result=\"succeeded\"} 2.0",
            "pgkeep_runs_total{policy=\"p\",kind=\"prune\",result=\"failed\"} 0.0",
            "pgkeep_run_retries_total{policy=\"p\"} 7.0",
            "pgkeep_run_active{policy=\"p\",kind=\"verify\"} 1.0",
            "pgkeep_run_active{policy=\"p\",kind=\"backup\"} 0.0",
            "pgkeep_run_stage_bytes{policy=\"p\",kind=\"verify\",stage=\"restore\"} 99.0",
            "pgkeep_notifications_failed_total{policy=\"p\"} 2.0",
        ],
    );
}

#[test]
fn promises_break_with_time_whether_or_not_the_vault_can_be_read() {
    says(&text_at(busy(), 115), &["pgkeep_policy_healthy{policy=\"p\"} 0.0", "pgkeep_backup_age_seconds{policy=\"p\"} 105.0"]);
    says(&text_at(busy(), 200), &["pgkeep_ready 0.0"]);
    let mut unknown = busy();
    unknown.policies.insert("p".to_owned(), PolicyState { error: Some("no route".to_owned()), ..PolicyState::default() });
    says(&text_at(unknown, 80), &["pgkeep_policy_healthy{policy=\"p\"} 0.0", "pgkeep_vault_readable{policy=\"p\"} 0.0"]);
}
