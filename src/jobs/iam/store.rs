//! The store in S3.

use super::{Grants, partition};
use crate::policy::Policy;

pub(super) fn grant(policy: &Policy, url: &str, grants: &mut Grants) {
    let Some(rest) = url.strip_prefix("s3://") else { return };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let partition = policy.store.region.as_deref().map_or("aws", partition);
    let prefix = prefix.trim_end_matches('/');
    let objects = if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/*") };
    let bucket = format!("arn:{partition}:s3:::{bucket}");
    grants.allow("StoreObjects", &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], [format!("{bucket}/{objects}")]);
    // Without condition on the prefix: who may not list is told "forbidden" of an object that is not there.
    grants.allow("StoreList", &["s3:ListBucket"], [bucket]);
    if let Some(key) = &policy.store.sse_kms_key_id {
        let region = policy.store.region.as_deref().unwrap_or("*");
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        if key.starts_with("arn:") && key.contains(":key/") {
            grants.allow("StoreKey", &actions, [key.clone()]);
        } else if let Some(alias) = key.find("alias/").map(|at| &key[at..]) {
            let any = format!("arn:{partition}:kms:{region}:*:key/*");
            grants.allow("StoreKeyByAlias", &actions, [any]).when("ForAnyValue:StringEquals", "kms:ResourceAliases", alias);
        } else {
            grants.allow("StoreKey", &actions, [format!("arn:{partition}:kms:{region}:*:key/{key}")]);
        }
    }
}
