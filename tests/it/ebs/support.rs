//! One region of the AWS endpoint, which no other test uses: instances, volumes, snapshots, and the faults of requests to it.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceType, Snapshot, Tag, TagSpecification, Volume, VolumeType};
use serde_json::{Value, json};

use crate::support::cli::{Home, StoreKind};

/// A volume to be made.
#[derive(Default)]
pub(super) struct Spec {
    pub(super) device: Option<&'static str>,
    pub(super) kind: &'static str,
    pub(super) gib: i32,
    pub(super) iops: Option<i32>,
    pub(super) throughput: Option<i32>,
    pub(super) name: &'static str,
    pub(super) encrypted: bool,
}

/// A home with an S3 store, and a region of AWS.
pub(super) struct Cloud {
    pub(super) home: Home,
    pub(super) region: &'static str,
    pub(super) ec2: Client,
}

pub(super) async fn client(region: &'static str) -> Client {
    let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("PGKEEP_TEST_AWS_URL is not set: run scripts/services start");
    let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region)).endpoint_url(url).load().await;
    Client::new(&config)
}

impl Cloud {
    pub(super) async fn new(region: &'static str) -> Self {
        let cloud = Self { home: Home::new(StoreKind::S3), region, ec2: client(region).await };
        sim(&json!({ "clear_faults": format!("region={region}") }));
        cloud
    }

    /// Settings of this region.
    pub(super) fn settings(&self, settings: &Value) {
        sim(&json!({ "regions": { self.region: settings } }));
    }

    /// Hits requests of this region that are `action` with a fault.
    pub(super) fn fault(&self, action: &str, fault: Value) {
        let mut fault = fault;
        fault["match"] = json!(format!("Action={action} region={}", self.region));
        sim(&json!({ "faults": [fault] }));
    }

    /// An instance in the first zone, and its root volume.
    pub(super) async fn instance(&self, name: &str) -> String {
        let request = self.ec2.run_instances().image_id("ami-12345678").min_count(1).max_count(1);
        let request = request.instance_type(InstanceType::T3Micro).tag_specifications(tags("instance", &[("Name", name)]));
        let placement = aws_sdk_ec2::types::Placement::builder().availability_zone(self.zone()).build();
        let made = request.placement(placement).send().await.expect("run an instance");
        made.instances()[0].instance_id().expect("id").to_owned()
    }

    pub(super) fn zone(&self) -> String {
        format!("{}a", self.region)
    }

    /// A volume, attached to `instance` where it has a device.
    pub(super) async fn volume(&self, instance: &str, spec: &Spec) -> String {
        let made = self
            .ec2
            .create_volume()
            .availability_zone(self.zone())
            .size(spec.gib)
            .volume_type(VolumeType::from(spec.kind))
            .set_iops(spec.iops)
            .set_throughput(spec.throughput)
            .encrypted(spec.encrypted)
            .tag_specifications(tags("volume", &[("Name", spec.name), ("Team", "db")]))
            .send()
            .await
            .expect("make a volume");
        let id = made.volume_id().expect("id").to_owned();
        if let Some(device) = spec.device {
            self.ec2.attach_volume().volume_id(&id).instance_id(instance).device(device).send().await.expect("attach");
        }
        id
    }

    /// Writes a policy of kind ebs: keys of `[source]`, and further sections.
    pub(super) fn policy(&self, name: &str, source: &str, more: &str) {
        let text = format!(
            "[source]\nkind = \"ebs\"\nregion = \"{}\"\n{source}\n\n[store]\nurl = \"{}\"\nregion = \"eu-west-1\"\n\n{more}\n",
            self.region,
            self.home.store()
        );
        std::fs::write(self.home.path().join(format!("policies/{name}.toml")), text).expect("write the policy");
    }

    /// The region's snapshots that carry our tags.
    pub(super) async fn snapshots(&self) -> Vec<Snapshot> {
        ours(&self.ec2).await
    }

    pub(super) async fn described(&self, volume: &str) -> Volume {
        let found = self.ec2.describe_volumes().volume_ids(volume).send().await.expect("describe");
        found.volumes()[0].clone()
    }
}

/// Changes what the endpoint does.
fn sim(change: &Value) {
    let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("the endpoint");
    let python = std::env::var("PGKEEP_TEST_PYTHON").expect("PGKEEP_TEST_PYTHON is not set: run scripts/services start");
    let script = "import sys, urllib.request as r; r.urlopen(sys.argv[1] + '/_sim', data=sys.argv[2].encode()).read()";
    let done = std::process::Command::new(python).args(["-c", script, &url, &change.to_string()]).status().expect("run python");
    assert!(done.success(), "{change}");
}

/// Snapshots with the tags of the policies of tests, one by one whatever the size of pages.
pub(super) async fn ours(ec2: &Client) -> Vec<Snapshot> {
    let wanted = Filter::builder().name("tag-key").values("pgkeep:policy").build();
    let found = ec2.describe_snapshots().owner_ids("self").filters(wanted).send().await.expect("describe snapshots");
    found.snapshots().to_vec()
}

pub(super) fn tags(of: &str, pairs: &[(&str, &str)]) -> TagSpecification {
    let tags = pairs.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
    TagSpecification::builder().resource_type(of.into()).set_tags(Some(tags)).build()
}

pub(super) fn tag_map(tags: &[Tag]) -> BTreeMap<&str, &str> {
    tags.iter().filter_map(|t| Some((t.key()?, t.value()?))).collect()
}
