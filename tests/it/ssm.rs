//! Commands on an instance by Systems Manager, as a policy's quiesce has them run.

use serde_json::json;

use crate::support::aws::{Aws, fault, simulate, texts};
use crate::support::cli::{Home, StoreKind};

const EC2: Aws = Aws::new("ec2", "eu-north-1");

/// An instance with its root volume, and a policy that brings it to rest.
fn world() -> (Home, String) {
    let image = [("ImageId", "ami-12345678"), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = texts(&EC2.does("RunInstances", &image), "instanceId").remove(0);
    let home = Home::new(StoreKind::S3);
    let log = home.path().join("log");
    let text = format!(
        "[source]\nkind = \"ebs\"\nregion = \"eu-north-1\"\ninstance_id = \"{instance}\"\n\
         [source.quiesce]\nfreeze = \"echo freeze >>{0}\"\nthaw = \"echo thaw >>{0}\"\non = \"instance\"\ntimeout = \"20s\"\n\
         [store]\nurl = \"{1}\"\n",
        log.display(),
        home.store()
    );
    std::fs::write(home.path().join("policies/disks.toml"), text).expect("write the policy");
    (home, instance)
}

#[test]
fn a_command_runs_on_the_instance_and_is_followed_to_its_end() {
    let (home, instance) = world();
    simulate(&json!({ "commands": { &instance: { "run": true, "invisible_seconds": 0.8 } } }));
    // Asked to slow down, it is sent again; one that was sent is never sent twice.
    fault("AmazonSSM.SendCommand", "ThrottlingException", 400, 1);
    home.run(&["backup", "disks"]).exits(0);
    let log = std::fs::read_to_string(home.path().join("log")).expect("the commands ran");
    assert_eq!(log.matches("freeze").count(), 1, "{log}");
    assert!(log.find("thaw") > log.find("freeze"), "{log}");
}

#[test]
fn a_command_that_fails_or_cannot_be_sent_is_no_backup_and_says_why() {
    let (home, instance) = world();
    for (wanted, code, says) in [
        (json!({ "unknown": true }), 4, vec!["InvalidInstanceId", "AmazonSSMManagedInstanceCore"]),
        (json!({ "status": "Failed", "exit_code": 3, "errors": "disk full" }), 9, vec!["exit code 3", "get-command-invocation"]),
        (json!({ "status": "Undeliverable", "exit_code": -1 }), 9, vec!["ended as 'Undeliverable'"]),
    ] {
        simulate(&json!({ "commands": { &instance: wanted } }));
        home.run(&["backup", "disks"]).exits(code).says(&says);
    }
    let home_has_none = home.json(&["list", "disks"])["backups"].as_array().map(Vec::len);
    assert_eq!(home_has_none, Some(0));
}
