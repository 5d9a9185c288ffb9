//! Restores of RDS: what is asked of AWS to the letter, restores that go on, and point-in-time restores of what was renamed or deleted.

use pgkeep::base::ids::random_hex;
use serde_json::{Value, json};

use crate::rds::{RDS, World};
use crate::support::aws::{fault, simulate, texts};

/// The forms of all that was asked for of `name`, in order.
#[track_caller]
fn forms(name: &str) -> Vec<Value> {
    serde_json::from_str(&RDS.does("SimForms", &[("Identifier", name)])).expect("JSON")
}

#[track_caller]
fn actions(name: &str) -> Vec<String> {
    forms(name).iter().filter_map(|form| form["Action"].as_str().map(str::to_owned)).collect()
}

/// Fails unless `form` has these fields.
#[track_caller]
fn has(form: &Value, fields: &[(&str, &str)]) {
    for (key, value) in fields {
        assert_eq!(form[key], *value, "{key} of {form:#}");
    }
}

#[track_caller]
fn lacks(form: &Value, fields: &[&str]) {
    for key in fields {
        assert!(form[key].is_null(), "{key} of {form:#}");
    }
}

#[track_caller]
fn one(action: &str, key: &str, name: &str, field: &str) -> String {
    texts(&RDS.does(action, &[(key, name)]), field).first().cloned().expect("field")
}

/// A new cluster of Aurora with so many instances.
fn aurora(world: &World, members: usize) -> String {
    let cluster = format!("cl-{}", random_hex(6));
    let about = [("DBClusterIdentifier", cluster.as_str()), ("Engine", "aurora-postgresql"), ("MasterUsername", "root")];
    RDS.does("CreateDBCluster", &[&about[..], &[("MasterUserPassword", "hunter2hunter2")]].concat());
    for i in 0..members {
        let name = format!("{cluster}-old-{i}");
        let of = [("DBInstanceIdentifier", name.as_str()), ("DBInstanceClass", "db.r6g.large"), ("Engine", "aurora-postgresql")];
        RDS.does("CreateDBInstance", &[&of[..], &[("DBClusterIdentifier", cluster.as_str())]].concat());
    }
    world.policy(&format!("cluster = \"{cluster}\""), "");
    cluster
}

/// What a restore asks for.
const KEPT: [(&str, &str); 13] = [
    ("DBInstanceClass", "db.r6g.large"),
    ("StorageType", "gp3"),
    ("Iops", "13000"),
    ("VpcSecurityGroupIds.VpcSecurityGroupId.1", "sg-00000001"),
    ("MultiAZ", "false"),
    ("PubliclyAccessible", "false"),
    ("DeletionProtection", "false"),
    ("EnableIAMDatabaseAuthentication", "true"),
    ("EnableCloudwatchLogsExports.member.1", "postgresql"),
    ("BackupRetentionPeriod", "9"),
    ("PreferredBackupWindow", "01:00-01:30"),
    ("CACertificateIdentifier", "rds-ca-rsa4096-g1"),
    ("CopyTagsToSnapshot", "true"),
];
/// What is set afterwards: AWS takes none of it in a restore of PostgreSQL.
const LATER: [(&str, &str); 4] = [
    ("ManageMasterUserPassword", "true"),
    ("MonitoringInterval", "30"),
    ("MonitoringRoleArn", "arn:aws:iam::123456789012:role/monitoring"),
    ("PreferredMaintenanceWindow", "sun:04:00-sun:05:00"),
];

#[test]
fn an_instance_that_is_gone_is_asked_for_with_every_setting_it_had_and_by_its_immutable_id() {
    let world = World::new("", "");
    let home = &world.home;
    let old = format!("{}-full", world.instance);
    let group = format!("pg-{}", random_hex(4));
    let about = [("DBParameterGroupName", group.as_str()), ("DBParameterGroupFamily", "postgres17"), ("Description", "x")];
    RDS.does("CreateDBParameterGroup", &about);
    let given = [
        ("DBInstanceIdentifier", old.as_str()),
        ("Engine", "postgres"),
        ("EngineVersion", "17.4"),
        ("MasterUsername", "root"),
        ("AllocatedStorage", "500"),
        ("DBParameterGroupName", group.as_str()),
        ("AvailabilityZone", "eu-west-1b"),
    ];
    RDS.does("CreateDBInstance", &[&given[..], &KEPT, &LATER].concat());
    let id = one("DescribeDBInstances", "DBInstanceIdentifier", &old, "DbiResourceId");
    world.policy(&format!("instance = \"{old}\""), "");
    home.json(&["backup", "prod"]);
    RDS.does("DeleteDBInstance", &[("DBInstanceIdentifier", old.as_str()), ("SkipFinalSnapshot", "true")]);

    let (snap, pit) = (format!("{old}-snap"), format!("{old}-pit"));
    home.json(&["restore", "prod", "--to-instance", &snap, "--availability-zone", "eu-west-1c"]);
    home.json(&["restore", "prod", "--to-instance", &pit, "--point-in-time", "--at", "1h ago"]);
    for name in [&snap, &pit] {
        let asked = forms(name);
        assert_eq!(asked.len(), 2, "{asked:#?}");
        has(&asked[0], &KEPT);
        has(&asked[0], &[("DBParameterGroupName", &group)]);
        lacks(&asked[0], &LATER.map(|(key, _)| key));
        has(&asked[1], &LATER);
        has(&asked[1], &[("Action", "ModifyDBInstance"), ("ApplyImmediately", "true")]);
    }
    has(&forms(&snap)[0], &[("Action", "RestoreDBInstanceFromDBSnapshot"), ("AvailabilityZone", "eu-west-1c")]);
    let in_time = &forms(&pit)[0];
    has(in_time, &[("Action", "RestoreDBInstanceToPointInTime"), ("SourceDbiResourceId", &id)]);
    lacks(in_time, &["AvailabilityZone", "SourceDBInstanceIdentifier", "UseLatestRestorableTime"]);
    let time = in_time["RestoreTime"].as_str().expect("time");
    assert!(time.len() == "2026-01-01T00:00:00Z".len(), "whole seconds: {time}");
}

#[test]
fn after_a_renaming_the_instance_that_was_backed_up_is_restored_and_not_the_one_that_has_its_name() {
    let world = World::new("", "");
    let home = &world.home;
    home.json(&["backup", "prod"]);
    let old = world.instance.as_str();
    let id = one("DescribeDBInstances", "DBInstanceIdentifier", old, "DbiResourceId");
    let next = format!("{old}-next");
    let about = [("DBInstanceIdentifier", next.as_str()), ("DBInstanceClass", "db.t3.micro"), ("Engine", "postgres")];
    let more = [("AllocatedStorage", "20"), ("MasterUsername", "u"), ("MasterUserPassword", "hunter2hunter2")];
    RDS.does("CreateDBInstance", &[&about[..], &more].concat());
    for (from, to) in [(old, format!("{old}-before")), (&next, old.to_owned())] {
        let renamed = [("DBInstanceIdentifier", from), ("NewDBInstanceIdentifier", &to), ("ApplyImmediately", "true")];
        RDS.does("ModifyDBInstance", &renamed);
    }
    let other = one("DescribeDBInstances", "DBInstanceIdentifier", old, "DbiResourceId");
    assert_ne!(id, other);
    let name = format!("{old}-pit");
    let planned = home.json(&["restore", "prod", "--to-instance", &name, "--point-in-time", "--plan"]);
    assert_eq!(planned["calls"][0]["parameters"]["SourceDbiResourceId"], id.as_str(), "{planned:#}");
    let notes = planned["notes"].to_string();
    assert!(notes.contains("name of another DB instance") && notes.contains(&other) && notes.contains("reach from"), "{notes}");
    home.json(&["restore", "prod", "--to-instance", &name, "--point-in-time"]);
    let asked = &forms(&name)[0];
    has(asked, &[("SourceDbiResourceId", &id), ("UseLatestRestorableTime", "true"), ("DBInstanceClass", "db.r6g.large")]);
    lacks(asked, &["RestoreTime"]);
}

#[test]
fn a_time_that_automated_backups_do_not_reach_yet_is_said_loudly_and_never_overstepped() {
    let world = World::new("", "");
    let home = &world.home;
    home.json(&["backup", "prod"]);
    world.simulate(&json!({ "window_lag_seconds": 300 }));
    let name = format!("{}-pit", world.instance);
    let asked = ["restore", "prod", "--to-instance", &name, "--point-in-time", "--at", "1m ago"];
    let planned = home.json(&[&asked[..], &["--plan"]].concat());
    assert!(planned["notes"].to_string().contains("NOT THE TIME"), "{planned:#}");
    let restored = home.json(&asked);
    assert!(restored["warnings"].to_string().contains("NOT THE TIME"), "{restored:#}");
    let form = &forms(&name)[0];
    assert_eq!(form["RestoreTime"], restored["consistent_at"], "{restored:#}");
    lacks(form, &["UseLatestRestorableTime"]);
    let said =
        home.run(&["restore", "prod", "--to-instance", &format!("{name}-2"), "--point-in-time", "--at", "1h ago"]).exits(0);
    assert!(said.stdout.contains("from the automated backups of") && !said.stdout.contains("NOT THE TIME"), "{}", said.stdout);
}

#[test]
fn a_restore_that_ended_early_is_gone_on_with_and_one_that_succeeded_is_never_touched() {
    let world = World::new("", "");
    let home = &world.home;
    let cluster = aurora(&world, 2);
    home.json(&["backup", "prod"]);
    let name = format!("{cluster}-new");
    let restore = ["restore", "prod", "--to-instance", &name];
    fault(&format!("DBClusterIdentifier={name} DBInstanceIdentifier={name}-2"), "AccessDenied", 403, 1);
    home.run(&restore).exits(4).says(&["rds:CreateDBInstance"]);
    home.run(&[&restore[..], &["--point-in-time"]].concat()).exits(5).says(&["out of the snapshot", "not what is wanted"]);
    let planned = home.json(&[&restore[..], &["--plan"]].concat());
    assert!(planned["notes"].to_string().contains("goes on with"), "{planned:#}");
    assert_eq!(planned["bytes"], 0, "RDS does not say how large a cluster of Aurora is: {planned:#}");
    assert_eq!(planned["calls"][0]["of"], format!("{name}-2"), "{planned:#}");
    let restored = home.json(&restore);
    assert_eq!(restored["made"].as_array().map(Vec::len), Some(3), "{restored:#}");
    assert_eq!(actions(&name)[0], "RestoreDBClusterFromSnapshot");
    assert!(!actions(&name)[1..].contains(&"RestoreDBClusterFromSnapshot".to_owned()), "asked for once: {:?}", actions(&name));
    assert_eq!(actions(&format!("{name}-1")), ["CreateDBInstance"]);
    home.run(&restore).exits(5).says(&["restored this backup completely", "never overwrites"]);
    home.run(&["restore", "prod", "--to-instance", &cluster]).exits(5).says(&["never overwrites"]);
    home.run(&["restore", "prod", "--to-instance", &"a".repeat(62), "--plan"]).exits(2).says(&["1 to 63"]);
}

#[test]
fn lost_answers_expired_credentials_and_refused_settings_do_not_end_a_restore() {
    let world = World::new("", "");
    let home = &world.home;
    home.json(&["backup", "prod"]);
    let name = format!("{}-again", world.instance);
    let restore = ["restore", "prod", "--to-instance", &name];
    let (asked, seen) = (
        format!("DBInstanceIdentifier={name} DBSnapshotIdentifier="),
        format!("Action=DescribeDBInstances DBInstanceIdentifier={name}"),
    );
    fault(&asked, "InsufficientDBInstanceCapacity", 400, 1);
    home.run(&restore).exits(4).says(&["another zone"]);
    // Expired, then made without an answer, then not seen at once, then expired again; last, a setting is refused.
    let lost = json!({ "match": asked, "code": "InternalFailure", "status": 500, "after": true });
    fault(&asked, "ExpiredToken", 403, 1);
    simulate(&json!({ "faults": [
        lost,
        { "match": seen, "skip": 2, "code": "DBInstanceNotFound", "status": 404 },
        { "match": seen, "skip": 3, "code": "ExpiredToken", "status": 403 },
    ] }));
    fault(&format!("Action=ModifyDBInstance DBInstanceIdentifier={name}"), "InvalidParameterCombination", 400, 1);
    let restored = home.json(&restore);
    let endpoint = restored["made"][0]["details"]["Endpoint"].as_str().expect("endpoint");
    let warnings = restored["warnings"].to_string();
    assert!(warnings.contains(endpoint) && warnings.contains("InvalidParameterCombination"), "{warnings}");
    let left = simulate(&json!({}))["faults"].to_string();
    assert!(!left.contains(&name), "all of them were met: {left}");
}

#[test]
fn clusters_are_as_private_as_they_were_and_come_back_from_their_id_once_they_are_gone() {
    let world = World::new("", "");
    let home = &world.home;
    let cluster = aurora(&world, 1);
    let arn = one("DescribeDBClusters", "DBClusterIdentifier", &cluster, "DBClusterArn");
    let id = one("DescribeDBClusters", "DBClusterIdentifier", &cluster, "DbClusterResourceId");
    RDS.does("EnableHttpEndpoint", &[("ResourceArn", &arn)]);
    home.json(&["backup", "prod"]);
    RDS.does("DeleteDBInstance", &[("DBInstanceIdentifier", &format!("{cluster}-old-0")), ("SkipFinalSnapshot", "true")]);
    RDS.does("DeleteDBCluster", &[("DBClusterIdentifier", &cluster), ("SkipFinalSnapshot", "true")]);
    let (snap, pit) = (format!("{cluster}-snap"), format!("{cluster}-pit"));
    fault("Action=EnableHttpEndpoint", "InvalidDBClusterStateFault", 400, 1);
    home.json(&["restore", "prod", "--to-instance", &snap, "--availability-zone", "eu-west-1a"]);
    let restored = home.json(&["restore", "prod", "--to-instance", &pit, "--point-in-time"]);
    assert_eq!(restored["made"].as_array().map(Vec::len), Some(2), "{restored:#}");
    has(&forms(&pit)[0], &[("SourceDbClusterResourceId", &id), ("UseLatestRestorableTime", "true")]);
    lacks(&forms(&pit)[0], &["SourceDBClusterIdentifier", "PubliclyAccessible", "EnableHttpEndpoint"]);
    has(&forms(&format!("{snap}-1"))[0], &[("AvailabilityZone", "eu-west-1a"), ("DBClusterIdentifier", &snap)]);
    for name in [&snap, &pit] {
        assert_eq!(actions(name).last().map(String::as_str), Some("EnableHttpEndpoint"), "{:?}", actions(name));
        assert!(forms(name).iter().all(|form| form["EnableHttpEndpoint"].is_null()), "of Aurora Serverless v1 only");
    }

    let multi_az = format!("{cluster}-three");
    let given = [
        ("DBClusterIdentifier", multi_az.as_str()),
        ("Engine", "postgres"),
        ("DBClusterInstanceClass", "db.m6gd.large"),
        ("AllocatedStorage", "100"),
        ("StorageType", "io1"),
        ("Iops", "1000"),
        ("MasterUsername", "root"),
        ("MasterUserPassword", "hunter2hunter2"),
        ("PubliclyAccessible", "false"),
    ];
    RDS.does("CreateDBCluster", &given);
    world.policy(&format!("cluster = \"{multi_az}\""), "");
    home.json(&["backup", "prod"]);
    let again = format!("{multi_az}-again");
    home.json(&["restore", "prod", "--to-instance", &again]);
    let kept = [("DBClusterInstanceClass", "db.m6gd.large"), ("Iops", "1000"), ("PubliclyAccessible", "false")];
    has(&forms(&again)[0], &kept);
    home.run(&["restore", "prod", "--to-instance", "x", "--availability-zone", "eu-west-1a"]).exits(2).says(&["all three"]);
}
