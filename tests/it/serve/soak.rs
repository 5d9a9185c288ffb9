//! Many runs at full speed with everything going wrong that can: nothing leaks, no slot is lost or doubled, and the last backup is good.
//!
//! `PGKEEP_SOAK_RUNS` says how many; `scripts/soak` runs a thousand of them with the optimised binary and prints what it measured.

#![allow(clippy::disallowed_macros, clippy::print_stdout, reason = "what was measured is for people to read")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use pgkeep::base::clock::{Clock as _, SystemClock};
use serde_json::Value;

use super::support::{Serve, Vault, wait};
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::{Database, Server};

const TOKEN: &str = "correct-horse-battery-staple";
/// Runs between two measurements.
const SAMPLE: usize = 10;

/// Resident memory in KiB and open descriptors of a process.
#[derive(Debug, Clone, Copy)]
struct Usage {
    kib: u64,
    descriptors: usize,
}

/// What a process has open while no run goes on: the least of a second, in which a scheduled run may come to its end.
async fn idle_usage(pid: u32) -> Usage {
    let mut least = usage(pid);
    for _ in 0..20 {
        SystemClock.sleep(Duration::from_millis(50)).await;
        let now = usage(pid);
        least = Usage { kib: now.kib, descriptors: least.descriptors.min(now.descriptors) };
    }
    least
}

fn usage(pid: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
    Usage { kib, descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count() }
}

struct Soak<'a> {
    home: &'a Home,
    vault: Vault<'a>,
    source: &'a Database,
    client: reqwest::Client,
    victim: Option<Serve>,
    steady: Serve,
    victims: usize,
    random: u64,
    asked: BTreeSet<String>,
}

impl Soak<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    async fn ask(&self, daemon: &Serve, what: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/policies/soak/{what}", daemon.address());
        let response = self.client.post(url).bearer_auth(TOKEN).send().await.ok()?;
        let accepted = response.status().as_u16() == 202;
        let text = response.text().await.ok()?;
        accepted.then(|| serde_json::from_str(&text).expect("JSON"))
    }

    /// One run by one of the daemons, and maybe something that goes wrong meanwhile.
    async fn round(&mut self) {
        let by_victim = self.below(2) == 0;
        let fault = self.below(12);
        if fault == 0 {
            self.allow_connections(false).await;
        }
        let daemon = if by_victim { self.victim.as_ref().expect("runs") } else { &self.steady };
        // Refused while a scheduled run goes on there.
        let Some(answer) = self.ask(daemon, "run").await else {
            // What was closed for this run must not stay closed for all that follow.
            self.allow_connections(true).await;
            SystemClock.sleep(Duration::from_millis(100)).await;
            return;
        };
        let id = answer["result"]["run"].as_str().expect("an id").to_owned();
        self.asked.insert(id.clone());
        match fault {
            1 => drop(self.ask(daemon, "cancel").await),
            2 => {
                let name = &self.source.name;
                self.source
                    .server
                    .admin(&[format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")])
                    .await;
            }
            3 | 4 => {
                let mut victim = self.victim.take().expect("runs");
                victim.signal(if fault == 3 { "KILL" } else { "TERM" });
                victim.ends();
                self.victims += 1;
                self.victim = Some(Serve::start_with(self.home, &format!("victim-{}", self.victims), TOKEN));
            }
            _ => {}
        }
        let killed = by_victim && matches!(fault, 3 | 4);
        if !killed {
            wait("the run to end", || self.state(&id).filter(|s| s != "running").or_else(|| self.idle(by_victim)));
        }
        if fault == 0 {
            self.allow_connections(true).await;
        }
    }

    async fn allow_connections(&self, allowed: bool) {
        self.source.server.admin(&[format!("ALTER DATABASE \"{}\" ALLOW_CONNECTIONS {allowed}", self.source.name)]).await;
    }

    fn state(&self, id: &str) -> Option<String> {
        let record: Value = serde_json::from_str(&self.home.get(&format!("soak/runs/{id}.json"))?).ok()?;
        record["state"].as_str().map(str::to_owned)
    }

    /// A run that never got the lease, because another covered it or somebody cancelled it before, leaves no record; its daemon says so.
    fn idle(&self, by_victim: bool) -> Option<String> {
        let daemon = if by_victim { self.victim.as_ref()? } else { &self.steady };
        let last = self.asked.iter().next_back()?;
        let log = daemon.log();
        let said = ["not started", "a run could not begin"].into_iter().find(|words| log.contains(words))?;
        self.state(last).is_none().then(|| said.to_owned())
    }
}

#[tokio::test]
async fn many_runs_leak_nothing_and_lose_no_slot() {
    let runs: usize = std::env::var("PGKEEP_SOAK_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let seed = std::env::var("PGKEEP_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from_str_radix(&pgkeep::base::ids::random_hex(4), 16).expect("hex"));
    println!("PGKEEP_SEED={seed} PGKEEP_SOAK_RUNS={runs}");
    let source = finance(&Server::of(17), 300).await;
    let home = Home::new(StoreKind::File);
    let schedule = "[schedule]\ncron = \"* * * * *\"\n[retention]\nkeep_last = 5\ngrace = \"1m\"\n";
    home.policy("soak", &source, schedule);
    let vault = Vault::of(&home, "soak");
    vault.make_old();
    let mut soak = Soak {
        home: &home,
        vault,
        source: &source,
        client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("client"),
        victim: Some(Serve::start_with(&home, "victim-0", TOKEN)),
        steady: Serve::start_with(&home, "steady", TOKEN),
        victims: 0,
        random: seed,
        asked: BTreeSet::new(),
    };
    let mut samples = Vec::new();
    while soak.asked.len() < runs {
        let before = soak.asked.len();
        soak.round().await;
        if soak.asked.len() > before && soak.asked.len().is_multiple_of(SAMPLE) {
            samples.push(idle_usage(soak.steady.pid()).await);
        }
    }
    let Soak { vault, victim, steady, asked, .. } = soak;
    for daemon in victim.into_iter().chain([steady]) {
        // One that the last round began anew may not hear signals yet.
        daemon.address();
        daemon.signal("TERM");
        let (status, log) = daemon.end();
        assert!(status.success(), "{status}: {log}");
    }
    home.run(&["backup", "soak"]).exits(0);
    check(&vault, &asked);
    flat(&samples, runs);
    home.run(&["verify", "soak", "--all", "--level", "content"]).exits(0);
    home.run(&["verify", "soak", "--level", "restore", "--scratch", "local"]).exits(0);
    source.remove().await;
}

fn check(vault: &Vault<'_>, asked: &BTreeSet<String>) {
    let records = vault.runs();
    let states = |state: &str| records.iter().filter(|r| r["state"] == state).count();
    println!(
        "{} records: {} succeeded, {} failed, {} cancelled; {} runs asked for",
        records.len(),
        states("succeeded"),
        states("failed"),
        states("cancelled"),
        asked.len()
    );
    assert_eq!(states("running"), 0, "the last run ended the records of those that were killed");
    assert!(states("succeeded") > asked.len() / 3, "too little succeeds for this to mean anything");
    let slots = vault.slots_once();
    let mut tried: BTreeSet<&str> = records.iter().filter_map(|r| r["slot"].as_str()).collect();
    for slot in &slots {
        tried.remove(slot.as_str());
    }
    println!("{} slots covered, {} begun and covered by a later one", slots.len(), tried.len());
    assert!(!slots.is_empty());
}

fn flat(samples: &[Usage], runs: usize) {
    let quarter = (samples.len() / 4).max(1);
    let mean = |part: &[Usage]| part.iter().map(|u| u.kib).sum::<u64>() / part.len() as u64;
    let (early, late) = (&samples[..quarter], &samples[samples.len() - quarter..]);
    println!(
        "memory {} KiB after {} runs, {} KiB after {runs}; descriptors {:?} and {:?}",
        mean(early),
        quarter * SAMPLE,
        mean(late),
        early.iter().map(|u| u.descriptors).min(),
        late.iter().map(|u| u.descriptors).min()
    );
    assert!(mean(late) < mean(early) * 3 / 2 + (16 << 10), "memory grows: {samples:?}");
    let least = |part: &[Usage]| part.iter().map(|u| u.descriptors).min().unwrap_or_default();
    assert!(least(late) <= least(early) + 4, "descriptors leak: {samples:?}");
}
