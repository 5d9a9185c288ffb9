//! RDS backups when AWS is full, slow, or of two minds, through the real binary.

#![allow(clippy::disallowed_methods, reason = "grace periods and snapshots take real time")]

use std::thread::sleep;
use std::time::Duration;

use crate::rds::{RDS, World};
use crate::support::aws::fault;

#[test]
fn a_full_quota_is_freed_by_what_is_due_although_the_last_run_failed() {
    let world = World::new("", "[retention]\nkeep_last = 2\ngrace = \"2s\"");
    let home = &world.home;
    for _ in 0..4 {
        home.run(&["backup", "prod"]).exits(0);
    }
    home.run(&["prune", "prod", "--yes"]).exits(0);
    fault(&format!("Action=CreateDBSnapshot DBInstanceIdentifier={}", world.instance), "SnapshotQuotaExceeded", 400, 1);
    home.run(&["backup", "prod"]).exits(4).says(&["quota of manual snapshots", "prune POLICY --yes"]);
    sleep(Duration::from_millis(2500));
    let planned = home.json(&["prune", "prod", "--plan"]);
    assert_eq!(planned["refused"]["refusal"], "last_run_failed", "{planned:#}");
    assert_eq!(planned["plan"]["sweep"].as_array().map(Vec::len), Some(2), "{planned:#}");
    let done = home.json(&["prune", "prod", "--yes"]);
    assert_eq!(done["done"]["swept"].as_array().map(Vec::len), Some(2), "{done:#}");
    assert_eq!((world.snapshots(RDS).len(), world.backups().len()), (2, 2), "nothing that is listed goes");
    home.run(&["prune", "prod", "--yes"]).exits(9).says(&["last backup run"]);
    home.run(&["backup", "prod"]).exits(0);
}
