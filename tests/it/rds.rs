//! RDS instances and clusters under a policy, through the real binary.

#![allow(clippy::disallowed_methods, reason = "a real process is killed after real time")]

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use pgkeep::base::ids::random_hex;
use serde_json::{Value, json};

use crate::support::aws::{Aws, credentials_of, fault, simulate, texts};
use crate::support::cli::{Home, StoreKind, finish};

pub(crate) const RDS: Aws = Aws::new("rds", "eu-west-1");
pub(crate) const COPIES: Aws = Aws::new("rds", "eu-central-1");

/// A home with the policy `prod` of a new instance.
pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) instance: String,
}

impl World {
    pub(crate) fn new(source: &str, more: &str) -> Self {
        let world = Self { home: Home::new(StoreKind::S3), instance: format!("db-{}", random_hex(6)) };
        RDS.does(
            "CreateDBInstance",
            &[
                ("DBInstanceIdentifier", &world.instance),
                ("DBInstanceClass", "db.r6g.large"),
                ("Engine", "postgres"),
                ("EngineVersion", "17.4"),
                ("AllocatedStorage", "100"),
                ("MaxAllocatedStorage", "500"),
                ("StorageType", "gp3"),
                ("MultiAZ", "true"),
                ("MasterUsername", "root"),
                ("MasterUserPassword", "hunter2hunter2"),
                ("DeletionProtection", "true"),
                ("EnableIAMDatabaseAuthentication", "true"),
                ("EnableCloudwatchLogsExports.member.1", "postgresql"),
                ("BackupRetentionPeriod", "7"),
                ("PreferredMaintenanceWindow", "sun:04:00-sun:05:00"),
                ("Tags.Tag.1.Key", "Team"),
                ("Tags.Tag.1.Value", "payments"),
            ],
        );
        world.policy(&format!("instance = \"{}\"\n{source}", world.instance), more);
        world
    }

    pub(crate) fn policy(&self, source: &str, more: &str) {
        let text = format!(
            "[source]\nkind = \"rds\"\nregion = \"eu-west-1\"\n{source}\n[store]\nurl = \"{}\"\n{more}\n",
            self.home.store()
        );
        std::fs::write(self.home.path().join("policies/prod.toml"), text).expect("write the policy");
    }

    pub(crate) fn simulate(&self, wanted: &Value) {
        simulate(&json!({ "rds": { &self.instance: wanted } }));
    }

    /// Identifiers of the instance's manual snapshots in a region.
    pub(crate) fn snapshots(&self, aws: Aws) -> Vec<String> {
        let of = [("DBInstanceIdentifier", self.instance.as_str()), ("SnapshotType", "manual")];
        texts(&aws.does("DescribeDBSnapshots", &of), "DBSnapshotIdentifier")
    }

    /// The backups that are listed.
    pub(crate) fn backups(&self) -> Vec<String> {
        let listed = self.home.json(&["list", "prod"]);
        let of = listed["backups"].as_array().into_iter().flatten();
        of.filter_map(|b| b["backup"].as_str().map(str::to_owned)).collect()
    }
}

#[track_caller]
fn described(name: &str) -> impl Fn(&str) -> String {
    let xml = RDS.does("DescribeDBInstances", &[("DBInstanceIdentifier", name)]);
    move |field| texts(&xml, field).first().cloned().unwrap_or_default()
}

#[test]
fn an_instance_is_backed_up_copied_proven_and_made_again_as_it_was() {
    let world = World::new("copy_to = [\"eu-central-1\"]", "");
    world.simulate(&json!({ "snapshot_seconds": 1.5 }));
    let home = &world.home;
    let made = home.json(&["backup", "prod", "--label", "before migration"]);
    let backup = made["backup"].as_str().expect("id").to_owned();
    let refs = made["source"]["snapshots"].as_array().expect("snapshots").clone();
    let regions: Vec<&str> = refs.iter().filter_map(|s| s["region"].as_str()).collect();
    assert_eq!(regions, ["eu-west-1", "eu-central-1"], "{made:#}");
    for (aws, named) in [(RDS, &refs[0]), (COPIES, &refs[1])] {
        assert_eq!(world.snapshots(aws), [named["id"].as_str().expect("id")], "{made:#}");
    }
    let listed = home.json(&["list", "prod"]);
    assert_eq!(listed["backups"][0]["kind"], "rds");
    assert_eq!(listed["backups"][0]["proven"], "presence");
    assert_eq!(listed["backups"][0]["originals"][0], world.instance.as_str());
    home.run(&["verify", "prod"]).exits(0);
    home.run(&["status", "prod"]).exits(0);

    let name = format!("{}-again", world.instance);
    let planned = home.json(&["restore", "prod", "--to-instance", &name, "--plan"]);
    assert_eq!(planned["calls"][0]["operation"], "RestoreDBInstanceFromDBSnapshot", "{planned:#}");
    assert_eq!(planned["calls"][0]["parameters"]["DBInstanceClass"], "db.r6g.large");
    assert_eq!(planned["calls"][1]["operation"], "ModifyDBInstance");
    assert_eq!(planned["bytes"], 100_u64 << 30);
    assert!(RDS.query("DescribeDBInstances", &[("DBInstanceIdentifier", &name)]).0 != 200, "a plan makes nothing");
    simulate(&json!({ "rds": { &name: { "instance_seconds": 1 } } }));
    // Right after it is made RDS backs it up, and takes no change.
    fault(&format!("Action=ModifyDBInstance DBInstanceIdentifier={name}"), "InvalidDBInstanceState", 400, 1);
    let restored = home.json(&["restore", "prod", "--to-instance", &name]);
    assert_eq!(restored["made"][0]["id"], name.as_str(), "{restored:#}");
    let field = described(&name);
    for (key, value) in [
        ("DBInstanceStatus", "available"),
        ("DBInstanceClass", "db.r6g.large"),
        ("AllocatedStorage", "100"),
        ("MaxAllocatedStorage", "500"),
        ("MultiAZ", "true"),
        ("DeletionProtection", "true"),
        ("IAMDatabaseAuthenticationEnabled", "true"),
        ("PreferredMaintenanceWindow", "sun:04:00-sun:05:00"),
    ] {
        assert_eq!(field(key), value, "{key}");
    }
    let xml = RDS.does("DescribeDBInstances", &[("DBInstanceIdentifier", &name)]);
    let tags: Vec<String> = texts(&xml, "Value");
    assert!(tags.contains(&"payments".to_owned()) && tags.contains(&backup), "{tags:?}");
    home.run(&["restore", "prod", "--to-instance", &name]).exits(5).says(&["completely", "already", "never overwrites"]);
    home.run(&["restore", "prod", "--to-instance", "no--name"]).exits(2);
    home.run(&["restore", "prod", "--to", "postgres://x/y"]).exits(2);
    let abroad = home.json(&["restore", "prod", "--to-instance", "abroad", "--to-region", "eu-central-1", "--plan"]);
    assert_eq!(abroad["region"], "eu-central-1");
    home.run(&["restore", "prod", "--to-instance", "abroad", "--to-region", "us-east-1"]).exits(7).says(&["eu-central-1"]);
}

#[test]
fn credentials_that_expire_in_a_long_wait_may_be_renewed() {
    let world = World::new("", "");
    let policies = world.home.path().join("policies");
    std::fs::rename(policies.join("prod.toml"), policies.join("worn.toml")).expect("rename");
    world.simulate(&json!({ "snapshot_seconds": 2 }));
    let look = "Action=DescribeDBSnapshots DBSnapshotIdentifier=pgkeep-worn-";
    simulate(&json!({ "faults": [{ "match": look, "skip": 1, "times": 2, "code": "ExpiredToken", "status": 403 }] }));
    world.home.run(&["backup", "worn"]).exits(0);
    let left = simulate(&json!({}))["faults"].as_array().expect("faults").iter().filter(|f| f["match"] == look).count();
    assert_eq!(left, 0, "the wait met them");
}

#[test]
fn copies_of_encrypted_snapshots_are_sealed_with_a_key_of_their_region() {
    let key = |region| {
        let made = Aws::new("kms", region).json("TrentService.CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().expect("ARN").to_owned()
    };
    let (here, there) = (key("eu-west-1"), key("eu-central-1"));
    let world = World::new("", "");
    let name = format!("{}-sealed", world.instance);
    let about = [
        ("DBInstanceIdentifier", name.as_str()),
        ("DBInstanceClass", "db.t3.micro"),
        ("Engine", "postgres"),
        ("AllocatedStorage", "20"),
    ];
    let sealed = [
        ("MasterUsername", "u"),
        ("MasterUserPassword", "hunter2hunter2"),
        ("StorageEncrypted", "true"),
        ("KmsKeyId", here.as_str()),
    ];
    RDS.does("CreateDBInstance", &[&about[..], &sealed[..]].concat());
    let source =
        format!("instance = \"{name}\"\ncopy_to = [\"eu-central-1\"]\n[source.copy_kms_keys]\neu-central-1 = \"{there}\"");
    world.policy(&source, "");
    world.home.run(&["backup", "prod"]).exits(0);
    let of = [("DBInstanceIdentifier", name.as_str()), ("SnapshotType", "manual")];
    assert_eq!(texts(&RDS.does("DescribeDBSnapshots", &of), "KmsKeyId"), [here]);
    assert_eq!(texts(&COPIES.does("DescribeDBSnapshots", &of), "KmsKeyId"), [there]);
    world.policy(&source.replace("copy_to = [\"eu-central-1\"]", "copy_to = [\"eu-west-3\"]"), "");
    world.home.run(&["backup", "prod"]).exits(3).says(&["copy_kms_keys", "not a region of copy_to"]);
}

#[test]
fn a_busy_instance_is_waited_for_and_what_fails_is_no_backup_and_leaves_nothing() {
    let world = World::new("", "");
    let home = &world.home;
    let create = format!("Action=CreateDBSnapshot DBInstanceIdentifier={}", world.instance);
    fault(&create, "InvalidDBInstanceState", 400, 2);
    home.run(&["backup", "prod"]).exits(0);
    assert_eq!(world.snapshots(RDS).len(), 1);
    // The answer is lost, the snapshot is there: the same request finds it.
    simulate(&json!({ "faults": [{ "match": create, "code": "InternalFailure", "status": 500, "after": true }] }));
    home.run(&["backup", "prod"]).exits(0);
    assert_eq!(world.snapshots(RDS).len(), 2);
    // Throttled, and not seen at once.
    fault("Action=DescribeDBSnapshots DBSnapshotIdentifier=pgkeep-prod-", "Throttling", 400, 2);
    home.run(&["backup", "prod"]).exits(0);
    let good = world.snapshots(RDS);
    world.simulate(&json!({ "snapshot_seconds": 0.5, "snapshot_outcome": "failed" }));
    home.run(&["backup", "prod"]).exits(4).says(&["ended as 'failed'", "describe-events"]);
    assert_eq!(world.snapshots(RDS), good, "the failed one is deleted");
    assert_eq!(home.json(&["list", "prod"])["backups"].as_array().map(Vec::len), Some(3));
    fault(&create, "SnapshotQuotaExceeded", 400, 1);
    home.run(&["backup", "prod"]).exits(4).says(&["quota of manual snapshots", "Service Quotas", "prune"]);
    fault(&create, "AccessDenied", 403, 1);
    home.run(&["backup", "prod"]).exits(4).says(&["rds:CreateDBSnapshot", "iam-policy"]);
    simulate(&json!({ "rds": { "eu-north-1": { "snapshot_quota": 0 } } }));
    world.policy(&format!("instance = \"{}\"\ncopy_to = [\"eu-north-1\"]", world.instance), "");
    home.run(&["backup", "prod"]).exits(4).says(&["eu-north-1", "quota"]);
    assert_eq!(world.snapshots(RDS), good, "nothing is begun that the quota would not let end");
    world.policy("instance = \"nobody\"", "");
    home.run(&["backup", "prod"]).exits(7).says(&["no DB instance 'nobody' in eu-west-1"]);
}

#[test]
fn a_killed_run_leaves_a_snapshot_that_the_next_one_deletes_and_nobody_elses() {
    let world = World::new("", "");
    let home = &world.home;
    home.json(&["backup", "prod"]);
    RDS.does(
        "CreateDBSnapshot",
        &[("DBInstanceIdentifier", &world.instance), ("DBSnapshotIdentifier", &format!("{}-own", world.instance))],
    );
    world.simulate(&json!({ "snapshot_seconds": 3 }));
    let mut child = home.command(&["-q", "backup", "prod"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
    for _ in 0..100 {
        sleep(Duration::from_millis(100));
        if world.snapshots(RDS).len() == 3 {
            break;
        }
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(world.snapshots(RDS).len(), 3, "killed while the snapshot is made");
    assert_eq!(home.json(&["list", "prod"])["backups"].as_array().map(Vec::len), Some(1), "it is no backup");
    world.simulate(&json!({}));
    sleep(Duration::from_secs(3));
    home.run(&["backup", "prod"]).exits(0);
    let left = world.snapshots(RDS);
    assert_eq!(left.len(), 3, "the killed run's is gone: {left:?}");
    assert!(left.iter().any(|id| id.ends_with("-own")), "{left:?}");
}

#[test]
fn snapshots_that_are_gone_or_nobodys_are_told_and_pages_are_read_to_the_end() {
    let world = World::new("", "");
    // Tests beside this one take snapshots in the same region.
    simulate(&json!({ "rds": { "eu-west-1": { "snapshot_quota": 1000 } } }));
    let home = &world.home;
    let made = home.json(&["backup", "prod"]);
    let id = made["source"]["snapshots"][0]["id"].as_str().expect("id").to_owned();
    let vault: Value = serde_json::from_str(&home.get("prod/vault.json").expect("vault")).expect("JSON");
    let vault = vault["vault_id"].as_str().expect("id");
    // More than a page, and the ones that matter behind it. Other tests back up into the same account meanwhile.
    simulate(&json!({ "rds": { "eu-west-1": { "snapshot_quota": 1000 } } }));
    for i in 0..105 {
        let name = format!("a-{}-{i:03}", world.instance);
        RDS.does("CreateDBSnapshot", &[("DBInstanceIdentifier", &world.instance), ("DBSnapshotIdentifier", &name)]);
    }
    let stray = format!("z-{}", world.instance);
    let tags = [
        ("DBInstanceIdentifier", world.instance.as_str()),
        ("DBSnapshotIdentifier", stray.as_str()),
        ("Tags.Tag.1.Key", "pgkeep:policy"),
        ("Tags.Tag.1.Value", "prod"),
        ("Tags.Tag.2.Key", "pgkeep:vault"),
        ("Tags.Tag.2.Value", vault),
        ("Tags.Tag.3.Key", "pgkeep:backup"),
        ("Tags.Tag.3.Value", "20200101T000000Z-aaaa"),
    ];
    RDS.does("CreateDBSnapshot", &tags);
    let doctor = home.run(&["--json", "doctor", "prod"]).exits(0).result();
    let checks = doctor["checks"].as_array().expect("checks");
    assert!(
        checks.iter().any(|c| c["check"] == "drift" && c["message"].as_str().is_some_and(|m| m.contains(&stray))),
        "{doctor:#}"
    );
    assert!(checks.iter().any(|c| c["message"].as_str().is_some_and(|m| m.contains("rds:CreateDBSnapshot"))), "{doctor:#}");
    RDS.does("DeleteDBSnapshot", &[("DBSnapshotIdentifier", &id)]);
    home.run(&["verify", "prod"]).exits(6).says(&[&id, "is gone"]);
    assert!(home.run(&["doctor", "prod"]).exits(6).stdout.contains(&id));
    home.run(&["restore", "prod", "--to-instance", "again", "--plan"]).exits(6).says(&["is gone"]);
    for i in 0..105 {
        RDS.does("DeleteDBSnapshot", &[("DBSnapshotIdentifier", &format!("a-{}-{i:03}", world.instance))]);
    }
    RDS.does("DeleteDBSnapshot", &[("DBSnapshotIdentifier", &stray)]);
}

#[test]
fn a_cluster_comes_back_with_its_instances() {
    let world = World::new("", "");
    let home = &world.home;
    let cluster = format!("cl-{}", random_hex(6));
    let about = [("DBClusterIdentifier", cluster.as_str()), ("Engine", "aurora-postgresql"), ("MasterUsername", "root")];
    RDS.does(
        "CreateDBCluster",
        &[&about[..], &[("MasterUserPassword", "hunter2hunter2"), ("DeletionProtection", "true")]].concat(),
    );
    for member in ["a", "b"] {
        let name = format!("{cluster}-{member}");
        let of = [("DBInstanceIdentifier", name.as_str()), ("DBInstanceClass", "db.r6g.large"), ("Engine", "aurora-postgresql")];
        RDS.does("CreateDBInstance", &[&of[..], &[("DBClusterIdentifier", cluster.as_str())]].concat());
    }
    world.policy(&format!("instance = \"{cluster}-a\""), "");
    home.run(&["backup", "prod"]).exits(8).says(&["belongs to cluster", &cluster]);
    world.policy(&format!("cluster = \"{cluster}\"\ncopy_to = [\"eu-central-1\"]"), "");
    let made = home.json(&["backup", "prod"]);
    assert_eq!(made["source"]["snapshots"].as_array().map(Vec::len), Some(2), "{made:#}");
    assert!(made["source"]["of"].as_str().is_some_and(|of| of.contains(&cluster)), "{made:#}");
    home.run(&["restore", "prod", "--to-instance", &cluster]).exits(5).says(&["already"]);
    let name = format!("{cluster}-new");
    let restored = home.json(&["restore", "prod", "--to-instance", &name]);
    assert_eq!(restored["made"].as_array().map(Vec::len), Some(3), "{restored:#}");
    let xml = RDS.does("DescribeDBClusters", &[("DBClusterIdentifier", &name)]);
    assert_eq!(texts(&xml, "DeletionProtection"), ["true"]);
    assert_eq!(texts(&xml, "DBInstanceIdentifier").len(), 2);
    assert_eq!(described(&format!("{name}-1"))("DBInstanceClass"), "db.r6g.large");
    home.run(&["verify", "prod"]).exits(0);
    let in_time = home.json(&["restore", "prod", "--to-instance", &format!("{cluster}-pit"), "--point-in-time"]);
    assert_eq!(in_time["made"].as_array().map(Vec::len), Some(3), "{in_time:#}");
}

#[test]
fn a_point_in_time_is_offered_beside_the_snapshot_and_which_loses_less_is_said() {
    let world = World::new("", "");
    let home = &world.home;
    home.json(&["backup", "prod"]);
    sleep(Duration::from_secs(3));
    let planned = home.json(&["restore", "prod", "--to-instance", "new", "--plan"]);
    assert_eq!(planned["point_in_time"]["chosen"], false, "{planned:#}");
    assert!(planned["notes"].to_string().contains("add --point-in-time"), "{planned:#}");
    let name = format!("{}-pit", world.instance);
    let in_time = home.json(&["restore", "prod", "--to-instance", &name, "--point-in-time", "--at", "1h ago", "--plan"]);
    assert_eq!(in_time["calls"][0]["operation"], "RestoreDBInstanceToPointInTime", "before the first snapshot: {in_time:#}");
    assert!((3590..=3700).contains(&in_time["loss_seconds"].as_u64().expect("seconds")), "{in_time:#}");
    let restored = home.json(&["restore", "prod", "--to-instance", &name, "--point-in-time"]);
    assert_eq!(restored["made"][0]["id"], name.as_str(), "{restored:#}");
    assert_eq!(described(&name)("DeletionProtection"), "true");
    home.run(&["restore", "prod", "--to-instance", "x", "--point-in-time", "--at", "2d ago"]).exits(7).says(&["reach from"]);
    world.simulate(&json!({ "window_seconds": 0 }));
    home.run(&["restore", "prod", "--to-instance", "x", "--point-in-time"]).exits(7).says(&["no automated backups"]);
    let planned = home.json(&["restore", "prod", "--to-instance", "new", "--plan"]);
    assert!(planned["notes"].to_string().contains("no automated backups"), "{planned:#}");
}

#[test]
fn a_prune_deletes_only_what_is_ours_and_waits_for_what_is_busy() {
    let world = World::new("copy_to = [\"eu-central-1\"]", "[retention]\nkeep_last = 2\ngrace = \"1s\"");
    let home = &world.home;
    let mut made = Vec::new();
    for _ in 0..4 {
        let backup = home.json(&["backup", "prod"]);
        made.push(backup["source"]["snapshots"][0]["id"].as_str().expect("id").to_owned());
    }
    home.run(&["prune", "prod", "--yes"]).exits(0);
    assert_eq!(world.snapshots(RDS).len(), 4, "undelete works until the sweep");
    sleep(Duration::from_millis(1500));
    for args in [&["prune", "prod", "--yes"][..], &["verify", "prod"], &["restore", "prod", "--to-instance", "again", "--plan"]] {
        let mut command = home.command(args);
        command.envs(credentials_of("222222222222"));
        finish(command, args).exits(4).says(&["the credentials are of account 222222222222"]);
    }
    assert_eq!(world.snapshots(RDS).len(), 4, "what another account does not have is not gone");
    let delete = format!("Action=DeleteDBSnapshot DBSnapshotIdentifier={}", made[0]);
    fault(&delete, "InvalidDBSnapshotState", 400, 1);
    let swept = home.json(&["prune", "prod", "--yes"]);
    assert!(swept["done"]["held"].to_string().contains("InvalidDBSnapshotState"), "{swept:#}");
    assert!(world.snapshots(RDS).contains(&made[0]) && !world.snapshots(RDS).contains(&made[1]));
    // What lost our tags meanwhile is not ours any more.
    let arn = texts(&RDS.does("DescribeDBSnapshots", &[("DBSnapshotIdentifier", &made[0])]), "DBSnapshotArn").remove(0);
    RDS.does("RemoveTagsFromResource", &[("ResourceName", &arn), ("TagKeys.member.1", "pgkeep:backup")]);
    home.run(&["prune", "prod", "--yes"]).exits(0);
    let mut left = world.snapshots(RDS);
    left.sort();
    let mut expected = vec![made[0].clone(), made[2].clone(), made[3].clone()];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(world.snapshots(COPIES).len(), 2, "copies go with their backup");
    let plan = home.json(&["prune", "prod", "--plan"]);
    assert_eq!(plan["drift"], json!({ "unknown": [], "missing": [] }));
}
