//! Volumes come back as they were, beside what is there.

use serde_json::json;

use super::support::{Cloud, Spec, tag_map};

#[tokio::test]
async fn volumes_come_back_as_they_were_and_are_attached_where_there_is_room() {
    let cloud = Cloud::new("ap-southeast-2").await;
    cloud.settings(&json!({ "volume_seconds": 1.5, "page_limit": 1 }));
    let (old, new) = (cloud.instance("old").await, cloud.instance("new").await);
    let data = Spec {
        device: Some("/dev/sdf"),
        kind: "gp3",
        gib: 10,
        iops: Some(4000),
        throughput: Some(250),
        name: "data",
        ..Spec::default()
    };
    let wal = Spec { device: Some("/dev/sdg"), kind: "io2", gib: 20, iops: Some(900), name: "wal", ..Spec::default() };
    let (data, wal) = (cloud.volume(&old, &data).await, cloud.volume(&old, &wal).await);
    cloud.volume(&new, &Spec { device: Some("/dev/sdf"), kind: "gp3", gib: 1, name: "other", ..Spec::default() }).await;
    cloud.policy("volumes", &format!("instance_id = \"{old}\"\nexclude_root = true"), "");
    let backup = cloud.home.json(&["backup", "volumes"])["backup"].as_str().expect("id").to_owned();
    let count = || async { cloud.ec2.describe_volumes().send().await.expect("describe").volumes().len() };
    let before = count().await;

    let zone = cloud.zone();
    let plan = cloud.home.json(&["restore", "volumes", "--to-zone", &zone, "--attach", &new, "--plan"]);
    let calls: Vec<&str> = plan["calls"].as_array().expect("calls").iter().filter_map(|c| c["operation"].as_str()).collect();
    assert_eq!(calls, ["CreateVolume", "CreateVolume", "AttachVolume", "AttachVolume"]);
    assert_eq!((plan["bytes"].as_u64(), plan["kind"].as_str()), (Some(30 << 30), Some("ebs")));
    assert_eq!(count().await, before, "a plan makes nothing");

    // An answer that is lost makes nothing twice.
    cloud.fault("CreateVolume", json!({ "code": "InternalError", "status": 500, "after": true }));
    let done = cloud.home.json(&["restore", "volumes", "--to-zone", &zone, "--attach", &new]);
    assert_eq!(count().await, before + 2);
    for made in done["made"].as_array().expect("made") {
        let (was, is) =
            (cloud.described(made["of"].as_str().expect("of")).await, cloud.described(made["id"].as_str().expect("id")).await);
        assert_eq!(
            (was.size(), was.volume_type(), was.iops(), was.throughput()),
            (is.size(), is.volume_type(), is.iops(), is.throughput())
        );
        let tags = tag_map(is.tags());
        assert_eq!((tags["Name"], tags["Team"]), (tag_map(was.tags())["Name"], "db"));
        assert_eq!(tags["pgkeep:restored-from"], backup);
        let attachment = &is.attachments()[0];
        assert_eq!(attachment.instance_id(), Some(new.as_str()));
        let device = if made["of"] == data.as_str() { "/dev/sdh" } else { "/dev/sdg" };
        assert_eq!(attachment.device(), Some(device), "sdf is taken there, sdg is free");
    }
    for volume in [&data, &wal] {
        assert_eq!(cloud.described(volume).await.attachments()[0].instance_id(), Some(old.as_str()), "nothing is detached");
    }

    let plan = cloud.home.json(&["restore", "volumes", "--to-zone", &zone, "--volume-type", "gp3", "--plan"]);
    let of_wal = plan["calls"].as_array().expect("calls").iter().find(|c| c["of"] == wal.as_str()).expect("call").clone();
    assert_eq!((of_wal["parameters"]["VolumeType"].as_str(), of_wal["parameters"].get("Throughput")), (Some("gp3"), None));
    assert!(plan["notes"].to_string().contains("from an earlier restore"), "{}", plan["notes"]);
    for (args, code) in [
        (["--to-zone", "nowhere", "--plan"].as_slice(), 2),
        (&["--to-zone", &zone, "--size", "100"], 2),
        (&["--to-zone", "ap-southeast-2b", "--attach", &new], 2),
        (&["--to-zone", &zone, "--attach", "i-0123456789abcdef0"], 7),
    ] {
        let mut all = vec!["restore", "volumes"];
        all.extend(args);
        cloud.home.run(&all).exits(code);
    }
    assert_eq!(count().await, before + 2);

    // In a disaster the bucket's address is enough.
    std::fs::remove_dir_all(cloud.home.path().join("policies")).expect("remove");
    let store = cloud.home.store();
    let rows = cloud.home.json(&["--store", store, "list"]);
    assert_eq!(rows["backups"][0]["kind"], "ebs");
    cloud.home.run(&["--store", store, "verify", "volumes"]).exits(0);
    let plan = cloud.home.json(&["--store", store, "restore", "volumes", "--to-zone", &zone, "--plan"]);
    assert_eq!(plan["calls"].as_array().map(Vec::len), Some(2));
}
