//! What `iam-policy` prints, held against every call that the sources make and that the endpoint of the tests has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::support::aws::simulate;
use crate::support::cli::{Home, StoreKind};

/// Operation by the name of its method in the SDK → its service's prefix in IAM, and what it needs. The names of the operations are AWS's; RDS and EC2
/// check tags apart, Secrets Manager and Parameter Store their keys, and reading and making encrypted snapshots their own.
const OPERATIONS: &[(&str, &str, &[&str])] = &[
    ("get_secret_value", "secretsmanager", &["secretsmanager:GetSecretValue", "kms:Decrypt"]),
    ("get_parameter", "ssm", &["ssm:GetParameter", "kms:Decrypt"]),
    ("send_command", "ssm", &["ssm:SendCommand"]),
    ("list_command_invocations", "ssm", &["ssm:ListCommandInvocations"]),
    ("cancel_command", "ssm", &["ssm:CancelCommand"]),
    // Whoever has credentials may ask whose they are.
    ("get_caller_identity", "sts", &[]),
    ("publish", "sns", &["sns:Publish"]),
    ("get_object", "s3", &["s3:GetObject", "kms:Decrypt"]),
    ("head_object", "s3", &["s3:GetObject"]),
    ("put_object", "s3", &["s3:PutObject", "kms:GenerateDataKey"]),
    ("delete_object", "s3", &["s3:DeleteObject"]),
    ("delete_objects", "s3", &["s3:DeleteObject"]),
    ("list_objects_v2", "s3", &["s3:ListBucket"]),
    ("describe_account_attributes", "rds", &["rds:DescribeAccountAttributes"]),
    ("describe_db_instances", "rds", &["rds:DescribeDBInstances"]),
    ("describe_db_clusters", "rds", &["rds:DescribeDBClusters"]),
    ("describe_db_snapshots", "rds", &["rds:DescribeDBSnapshots"]),
    ("describe_db_cluster_snapshots", "rds", &["rds:DescribeDBClusterSnapshots"]),
    ("describe_db_instance_automated_backups", "rds", &["rds:DescribeDBInstanceAutomatedBackups"]),
    ("describe_db_cluster_automated_backups", "rds", &["rds:DescribeDBClusterAutomatedBackups"]),
    ("create_db_snapshot", "rds", &["rds:CreateDBSnapshot", "rds:AddTagsToResource"]),
    ("create_db_cluster_snapshot", "rds", &["rds:CreateDBClusterSnapshot", "rds:AddTagsToResource"]),
    ("copy_db_snapshot", "rds", COPY_DB_SNAPSHOT),
    ("copy_db_cluster_snapshot", "rds", &["rds:CopyDBClusterSnapshot", "rds:AddTagsToResource"]),
    ("delete_db_snapshot", "rds", &["rds:DeleteDBSnapshot"]),
    ("delete_db_cluster_snapshot", "rds", &["rds:DeleteDBClusterSnapshot"]),
    ("restore_db_instance_from_db_snapshot", "rds", &["rds:RestoreDBInstanceFromDBSnapshot", "rds:AddTagsToResource"]),
    ("restore_db_instance_to_point_in_time", "rds", &["rds:RestoreDBInstanceToPointInTime", "rds:AddTagsToResource"]),
    ("restore_db_cluster_from_snapshot", "rds", &["rds:RestoreDBClusterFromSnapshot", "rds:AddTagsToResource"]),
    ("restore_db_cluster_to_point_in_time", "rds", &["rds:RestoreDBClusterToPointInTime", "rds:AddTagsToResource"]),
    // Enhanced Monitoring needs a role, a managed master password a secret.
    ("create_db_instance", "rds", &["rds:CreateDBInstance", "rds:AddTagsToResource", "iam:PassRole"]),
    ("modify_db_instance", "rds", MODIFY_DB_INSTANCE),
    ("modify_db_cluster", "rds", &["rds:ModifyDBCluster", "secretsmanager:CreateSecret", "secretsmanager:TagResource"]),
    ("enable_http_endpoint", "rds", &["rds:EnableHttpEndpoint"]),
    ("add_tags_to_resource", "rds", &["rds:AddTagsToResource"]),
    ("describe_instances", "ec2", &["ec2:DescribeInstances"]),
    ("describe_volumes", "ec2", &["ec2:DescribeVolumes"]),
    ("describe_snapshots", "ec2", &["ec2:DescribeSnapshots"]),
    ("describe_locked_snapshots", "ec2", &["ec2:DescribeLockedSnapshots"]),
    ("create_snapshots", "ec2", &["ec2:CreateSnapshots", "ec2:CreateTags"]),
    ("create_snapshot", "ec2", &["ec2:CreateSnapshot", "ec2:CreateTags"]),
    ("copy_snapshot", "ec2", &["ec2:CopySnapshot", "ec2:CreateTags"]),
    ("delete_snapshot", "ec2", &["ec2:DeleteSnapshot"]),
    ("lock_snapshot", "ec2", &["ec2:LockSnapshot"]),
    ("modify_snapshot_tier", "ec2", &["ec2:ModifySnapshotTier"]),
    ("restore_snapshot_tier", "ec2", &["ec2:RestoreSnapshotTier"]),
    ("create_volume", "ec2", &["ec2:CreateVolume", "ec2:CreateTags"]),
    ("attach_volume", "ec2", &["ec2:AttachVolume"]),
];
const MODIFY_DB_INSTANCE: &[&str] =
    &["rds:ModifyDBInstance", "iam:PassRole", "secretsmanager:CreateSecret", "secretsmanager:TagResource", "kms:DescribeKey"];
/// Copying an encrypted snapshot opens it with one key and seals it with another, by grants.
const COPY_DB_SNAPSHOT: &[&str] = &[
    "rds:CopyDBSnapshot",
    "rds:AddTagsToResource",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];
/// Where calls are made.
const PLACES: &[&str] = &["src/cloud", "src/store/s3", "src/store/s3.rs", "src/daemon/notify/sns.rs"];

/// Policies that use everything.
const POLICIES: &[(&str, &str)] = &[
    (
        "books",
        "[source]\nkind = \"postgres\"\nurl = \"postgres://${aws-ssm:/books/user}:${aws-secretsmanager:eu-west-1:books#pw}@db/books\"\n\
         [store]\nurl = \"s3://harena-backups/prod\"\nregion = \"eu-west-1\"\nsse_kms_key_id = \"00000000-0000-0000-0000-000000000000\"\n\
         [notify.sns]\ntopic = \"arn:aws:sns:eu-west-1:111122223333:backups\"\n",
    ),
    (
        "orders",
        "[source]\nkind = \"rds\"\nregion = \"eu-west-1\"\ninstance = \"orders\"\ncopy_to = [\"eu-central-1\"]\n\
         [store]\nurl = \"s3://harena-backups/prod\"\n",
    ),
    (
        "aurora",
        "[source]\nkind = \"rds\"\nregion = \"eu-west-1\"\ncluster = \"aurora\"\ncopy_to = [\"eu-central-1\"]\n\
         [store]\nurl = \"s3://harena-backups/prod\"\n",
    ),
    ("disks", EBS),
];
const EBS: &str = "[source]\nkind = \"ebs\"\nregion = \"eu-west-1\"\nvolume_ids = [\"vol-0123456789abcdef0\"]\ncopy_to = [\"eu-central-1\"]\n\
                   archive = true\n[source.lock]\nmode = \"governance\"\ndays = 7\n\
                   [source.quiesce]\nfreeze = \"sync\"\non = \"instance\"\n\
                   [store]\nurl = \"s3://harena-backups/prod\"\n";

fn home() -> Home {
    let home = Home::new(StoreKind::S3);
    for (name, text) in POLICIES {
        std::fs::write(home.path().join(format!("policies/{name}.toml")), text).expect("write the policy");
    }
    home
}

fn statements(document: &Value) -> &Vec<Value> {
    document["Statement"].as_array().expect("statements")
}

fn actions(document: &Value) -> BTreeSet<String> {
    let all = statements(document).iter().flat_map(|s| s["Action"].as_array().expect("actions"));
    all.map(|a| a.as_str().expect("a name").to_owned()).collect()
}

/// Methods of the SDK's clients that the sources call: what is followed somewhere by `.send()`, by its place.
fn calls() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders: Vec<_> = PLACES.iter().map(|place| root.join(place)).collect();
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            folders.extend(path.read_dir().expect("a folder").map(|e| e.expect("an entry").path()));
        } else {
            files.push(path);
        }
    }
    let mut found = BTreeMap::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let code: String = text.split("#[cfg(test)]").next().unwrap_or_default().split_whitespace().collect();
        for client in ["client.", "once.", "Client::new(&config)."] {
            for (at, _) in code.match_indices(client) {
                let name: String =
                    code[at + client.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || *c == '2').collect();
                if code[at + client.len() + name.len()..].starts_with("()") && name.contains('_') || name == "publish" {
                    found.insert(name, path.display().to_string());
                }
            }
        }
    }
    found
}

#[test]
fn every_call_is_allowed_and_nothing_else() {
    let document = home().json(&["iam-policy"]);
    let printed = actions(&document);
    let known: BTreeMap<&str, &[&str]> = OPERATIONS.iter().map(|(name, _, actions)| (*name, *actions)).collect();
    let calls = calls();
    assert!(calls.contains_key("create_db_snapshot") && calls.contains_key("put_object"), "the search is broken: {calls:?}");
    let mut needed = BTreeSet::new();
    for (call, place) in &calls {
        let of = known.get(call.as_str()).unwrap_or_else(|| panic!("{place} calls {call}: say in OPERATIONS what it needs"));
        needed.extend(of.iter().map(|a| (*a).to_owned()));
    }
    let missing: Vec<&String> = needed.difference(&printed).collect();
    assert!(missing.is_empty(), "called and not printed: {missing:?}");
    let unused: Vec<&String> = printed.difference(&needed).collect();
    assert!(unused.is_empty(), "printed and never called: {unused:?}");
}

#[test]
fn every_call_that_the_endpoint_has_seen_is_known() {
    let home = home();
    // Calls of this test's own, so that there are some whatever runs beside it.
    home.run(&["doctor", "orders"]);
    home.run(&["doctor", "aurora"]);
    let seen = simulate(&serde_json::json!({}));
    let calls = seen["calls"].as_object().expect("calls of the SDK");
    assert!(calls["rds"].as_array().is_some_and(|c| c.contains(&"DescribeDBSnapshots".into())), "{calls:?}");
    let lower = |name: &str| name.replace('_', "").to_lowercase();
    let known: BTreeSet<(String, &str)> = OPERATIONS.iter().map(|(name, service, _)| (lower(name), *service)).collect();
    for (service, names) in calls {
        for name in names.as_array().expect("names") {
            let name = name.as_str().expect("a name");
            assert!(
                known.contains(&(lower(name), service.as_str())),
                "{service}: {name} is called, and no action is known for it"
            );
        }
    }
}

#[test]
fn deletions_need_our_tags_and_the_document_is_always_the_same() {
    let home = home();
    let (first, second) = (home.run(&["iam-policy"]).exits(0), home.run(&["iam-policy"]).exits(0));
    assert_eq!(first.stdout, second.stdout);
    let document: Value = serde_json::from_str(&first.stdout).expect("the document alone, as AWS takes it");
    assert_eq!(document, home.json(&["iam-policy"]));
    for statement in statements(&document) {
        let text = statement.to_string();
        let deletes = statement["Action"]
            .as_array()
            .expect("actions")
            .iter()
            .any(|a| a.as_str().is_some_and(|a| a.contains("Snapshot") && a.contains(":Delete")));
        assert!(!deletes || text.contains("aws:ResourceTag/pgkeep:policy"), "{text}");
        let everything = statement["Resource"].as_array().expect("resources").iter().any(|r| r == "*");
        let reads = |a: &Value| {
            a.as_str().is_some_and(|a| a.contains(":Describe") || a == "ssm:ListCommandInvocations" || a == "ssm:CancelCommand")
        };
        assert!(!everything || statement["Action"].as_array().expect("actions").iter().all(reads), "{text}");
    }
    let one = home.json(&["iam-policy", "books"]);
    let names: Vec<&str> = statements(&one).iter().map(|s| s["Sid"].as_str().expect("a name")).collect();
    assert_eq!(names, ["Notify", "Parameters", "Secrets", "SecretsKeys", "StoreKey", "StoreList", "StoreObjects"]);
    let text = one.to_string();
    for part in [
        "arn:aws:s3:::harena-backups/prod/*",
        "secret:books-??????",
        "parameter/books/user",
        "arn:aws:sns:eu-west-1:111122223333:backups",
    ] {
        assert!(text.contains(part), "{part}: {one:#}");
    }
    home.run(&["iam-policy", "nobody"]).exits(7);
}
