//! Commands on an instance by Systems Manager, as a policy's quiesce has them run.

use std::time::Duration;

use pgkeep::base::clock::Stopwatch;
use serde_json::json;

use crate::support::aws::{Aws, fault, simulate, texts};
use crate::support::cli::{Home, StoreKind};

/// An instance with its root volume, and a policy that brings it to rest by a command.
fn world() -> (Home, String) {
    world_with("eu-north-1", "\"echo freeze >>{log}\"")
}

/// The same in any region, by what `freeze` says.
fn world_with(region: &'static str, freeze: &str) -> (Home, String) {
    let image = [("ImageId", "ami-12345678"), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = texts(&Aws::new("ec2", region).does("RunInstances", &image), "instanceId").remove(0);
    let home = Home::new(StoreKind::S3);
    let log = home.path().join("log");
    let text = format!(
        "[source]\nkind = \"ebs\"\nregion = \"{region}\"\ninstance_id = \"{instance}\"\n\
         [source.quiesce]\nfreeze = {2}\nthaw = \"echo thaw >>{0}\"\non = \"instance\"\ntimeout = \"20s\"\n\
         [store]\nurl = \"{1}\"\n",
        log.display(),
        home.store(),
        freeze.replace("{log}", &log.display().to_string())
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
        (
            json!({ "status": "Failed", "exit_code": 3, "errors": "disk full" }),
            9,
            vec!["exit code 3", "list-command-invocations"],
        ),
        (json!({ "status": "Undeliverable", "exit_code": -1 }), 9, vec!["ended as 'Undeliverable'"]),
    ] {
        simulate(&json!({ "commands": { &instance: wanted } }));
        home.run(&["backup", "disks"]).exits(code).says(&says);
    }
    let home_has_none = home.json(&["list", "disks"])["backups"].as_array().map(Vec::len);
    assert_eq!(home_has_none, Some(0));
}

#[test]
fn a_document_freezes_and_the_instance_itself_thaws_when_pgkeep_is_killed() {
    let (home, instance) =
        world_with("eu-west-2", r#"{ document = "Harena-Rest", parameters = { script = ["echo freeze >>{log}"] } }"#);
    let said = || std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
    simulate(&json!({ "commands": { &instance: { "run": true, "steps_before": 1 } } }));
    home.run(&["backup", "disks"]).exits(0);
    assert_eq!(said(), "freeze\nthaw\n");

    let mut policy = std::fs::read_to_string(home.path().join("policies/disks.toml")).expect("policy");
    policy = policy.replace("\"20s\"", "\"4s\"");
    std::fs::write(home.path().join("policies/disks.toml"), policy).expect("write the policy");
    simulate(&json!({ "faults": [{ "match": "Action=CreateSnapshots region=eu-west-2", "delay": 20, "times": 1 }] }));
    let mut child = home.command(&["backup", "disks"]).spawn().expect("start");
    let until = |what: &str, times: usize| {
        let watch = Stopwatch::start();
        while said().matches(what).count() < times {
            assert!(watch.elapsed() < Duration::from_secs(30), "no {what}: {}", said());
            std::thread::yield_now();
        }
    };
    until("freeze", 2);
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(said().matches("thaw").count(), 1, "nobody thawed yet");
    until("thaw", 2);
}

#[test]
fn a_step_of_a_document_that_fails_is_no_backup_and_a_document_needs_an_instance() {
    let (home, instance) = world_with("eu-north-1", r#"{ document = "Harena-Rest" }"#);
    simulate(&json!({ "commands": { &instance: { "steps_before": 2, "status": "Failed", "exit_code": 7 } } }));
    home.run(&["backup", "disks"]).exits(9).says(&["exit code 7"]);
    let granted = home.run(&["iam-policy", "disks"]).exits(0).stdout;
    for resource in ["eu-north-1::document/AWS-RunShellScript", "eu-north-1:*:document/Harena-Rest"] {
        assert!(granted.contains(resource), "{resource}: {granted}");
    }
    let path = home.path().join("policies/disks.toml");
    let policy = std::fs::read_to_string(&path).expect("policy").replace("on = \"instance\"\n", "");
    std::fs::write(&path, policy).expect("write the policy");
    home.run(&["backup", "disks"]).exits(3).says(&["source.quiesce.freeze", "on = \"instance\""]);
}
