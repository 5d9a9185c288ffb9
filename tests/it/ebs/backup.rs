//! What a backup of volumes is: one set, tagged, complete, listed like any other.

use serde_json::json;

use super::support::{Cloud, Spec, client, ours, tag_map};

#[tokio::test]
async fn an_instance_is_taken_as_one_set_and_listed_like_any_backup() {
    let cloud = Cloud::new("eu-west-3").await;
    cloud.settings(&json!({ "snapshot_seconds": 2.5, "snapshot_hidden_seconds": 1, "page_limit": 1 }));
    let instance = cloud.instance("harena-db").await;
    let data = Spec { device: Some("/dev/sdf"), kind: "gp3", gib: 8, name: "data", ..Spec::default() };
    let wal = Spec { device: Some("/dev/sdg"), kind: "gp3", gib: 4, name: "wal", ..Spec::default() };
    let scrap = Spec { device: Some("/dev/sdh"), kind: "gp3", gib: 2, name: "scrap", ..Spec::default() };
    let (data, wal) = (cloud.volume(&instance, &data).await, cloud.volume(&instance, &wal).await);
    cloud.volume(&instance, &scrap).await;
    cloud.policy("volumes", &format!("instance_id = \"{instance}\"\ndevices = [\"/dev/sdf\", \"/dev/sdg\"]"), "");

    let made = cloud.home.json(&["backup", "volumes", "--label", "release «7»"]);
    let source = &made["source"];
    assert_eq!((source["kind"].as_str(), source["consistent_set"].as_bool()), (Some("ebs"), Some(true)));
    assert_eq!(source["of"], format!("{instance} (harena-db)"));
    let set = cloud.snapshots().await;
    let shown: Vec<&str> = set.iter().filter_map(|s| s.volume_id()).collect();
    assert_eq!(shown.len(), 2, "one snapshot of each: {shown:?}");
    assert!(shown.contains(&data.as_str()) && shown.contains(&wal.as_str()));
    for snapshot in &set {
        let tags = tag_map(snapshot.tags());
        assert_eq!(tags["pgkeep:backup"], made["backup"].as_str().expect("id"));
        assert_eq!((tags["pgkeep:policy"], tags["pgkeep:set-size"], tags["pgkeep:label"]), ("volumes", "2", "release _7_"));
        assert!(tags["Name"].starts_with("volumes 2"));
    }

    let row = cloud.home.json(&["list", "volumes"])["backups"][0].clone();
    assert_eq!(
        (row["kind"].as_str(), row["proven"].as_str(), row["original_bytes"].as_u64()),
        (Some("ebs"), Some("presence"), Some(12 << 30))
    );
    let shown = cloud.home.json(&["show", "volumes"]);
    let gp3 =
        shown["snapshots"].as_array().expect("volumes").iter().find(|v| v["id"] == data.as_str()).expect("the volume").clone();
    assert_eq!(
        (gp3["size_gib"].as_u64(), gp3["volume_type"].as_str(), gp3["tags"]["Team"].as_str()),
        (Some(8), Some("gp3"), Some("db"))
    );
    assert_eq!(gp3["attachments"][0]["device"], "/dev/sdf");
    cloud.home.run(&["list"]).exits(0);
    cloud.home.run(&["show", "volumes"]).exits(0);
    cloud.home.run(&["status", "volumes"]).exits(0);
    cloud.home.run(&["verify", "volumes"]).exits(0);
    cloud.home.run(&["verify", "volumes", "--level", "content"]).exits(8).says(&["presence"]);
    cloud.home.run(&["restore", "volumes", "--to", "postgres://nobody@127.0.0.1/x"]).exits(2).says(&["--to-zone"]);
}

#[tokio::test]
async fn volumes_of_several_instances_and_of_none_are_taken_and_said_not_to_show_one_instant() {
    let cloud = Cloud::new("eu-north-1").await;
    let (one, two) = (cloud.instance("one").await, cloud.instance("two").await);
    let spec = |device| Spec { device, kind: "gp3", gib: 2, name: "spread", ..Spec::default() };
    for (instance, device) in [(&one, Some("/dev/sdf")), (&one, Some("/dev/sdg")), (&two, Some("/dev/sdf")), (&two, None)] {
        cloud.volume(instance, &spec(device)).await;
    }
    cloud.policy("spread", "tags = { Name = \"spread\", Team = \"db\" }", "");
    let made = cloud.home.json(&["backup", "spread"]);
    assert_eq!(made["source"]["consistent_set"], false);
    assert_eq!(made["source"]["of"], "4 volumes");
    assert!(made["warnings"].to_string().contains("do not show one instant"), "{}", made["warnings"]);
    assert_eq!(cloud.snapshots().await.len(), 4);

    cloud.policy("nothing", "tags = { Name = \"nowhere\" }", "");
    cloud.home.run(&["backup", "nothing"]).exits(7).says(&["no volume in eu-north-1 carries the tags Name=nowhere"]);
    cloud.policy("gone", "instance_id = \"i-0123456789abcdef0\"", "");
    cloud.home.run(&["backup", "gone"]).exits(7).says(&["i-0123456789abcdef0"]);
}

#[tokio::test]
async fn copies_in_another_region_are_part_of_the_backup_and_go_with_it() {
    let cloud = Cloud::new("eu-central-1").await;
    let there = client("eu-south-1").await;
    cloud.settings(&json!({ "snapshot_seconds": 1 }));
    let instance = cloud.instance("copied").await;
    let spec = Spec { device: Some("/dev/sdf"), kind: "gp3", gib: 3, name: "data", encrypted: true, ..Spec::default() };
    let volume = cloud.volume(&instance, &spec).await;
    let source = format!(
        "volume_ids = [\"{volume}\"]\ncopy_to = [\"eu-south-1\"]\narchive = true\n\n[source.copy_kms_keys]\neu-south-1 = \"alias/there\"\n\n[source.lock]\nmode = \"governance\"\ndays = 1"
    );
    cloud.policy("copied", &source, "");
    let made = cloud.home.json(&["backup", "copied"]);
    let backup = made["backup"].as_str().expect("id");
    let refs = made["source"]["snapshots"].as_array().expect("snapshots").clone();
    assert_eq!(refs.len(), 2);
    let copies = ours(&there).await;
    assert_eq!(copies.len(), 1);
    assert_eq!(tag_map(copies[0].tags())["pgkeep:copy-of"], refs[0]["id"].as_str().expect("id"));
    assert_eq!((copies[0].encrypted(), copies[0].kms_key_id()), (Some(true), Some("alias/there")));
    let original = &cloud.snapshots().await[0];
    assert_eq!(original.storage_tier().map(aws_sdk_ec2::types::StorageTier::as_str), Some("archive"));
    for (client, snapshot) in [(&cloud.ec2, original), (&there, &copies[0])] {
        let id = snapshot.snapshot_id().expect("id");
        client.delete_snapshot().snapshot_id(id).send().await.expect_err("locked");
    }
    assert!(made["warnings"].to_string().contains("archive"));

    // What lies in the archive tier has to be brought back first.
    let zone = cloud.zone();
    let plan = cloud.home.json(&["restore", "copied", "--to-zone", &zone, "--plan"]);
    let calls: Vec<&str> = plan["calls"].as_array().expect("calls").iter().filter_map(|c| c["operation"].as_str()).collect();
    assert_eq!(calls, ["RestoreSnapshotTier", "CreateVolume"]);
    assert!(plan["estimated_seconds"].as_u64() > Some(24 * 3600), "{plan}");
    let back = cloud.home.json(&["restore", "copied", "--to-zone", &zone]);
    assert_eq!(cloud.described(back["made"][0]["id"].as_str().expect("id")).await.size(), Some(3));

    // The region of the originals is not needed to restore in that of the copies.
    cloud.fault("DescribeSnapshots", json!({ "code": "InternalError", "status": 500, "times": null }));
    let restored = cloud.home.json(&["restore", "copied", "--backup", backup, "--to-zone", "eu-south-1a", "--size", "5"]);
    let id = restored["made"][0]["id"].as_str().expect("id").to_owned();
    let volumes = there.describe_volumes().volume_ids(id).send().await.expect("describe");
    assert_eq!((volumes.volumes()[0].snapshot_id(), volumes.volumes()[0].size()), (copies[0].snapshot_id(), Some(5)));
    cloud.home.run(&["restore", "copied", "--to-zone", "eu-north-1a", "--plan"]).exits(7).says(&["eu-central-1, eu-south-1"]);
}
