//! `iam-policy`: the least that a role must be allowed for the policies at hand, as AWS's JSON.
//!
//! Deletions are allowed only of what carries our tags, new instances and volumes only with them. Accounts are not known here, and where a region is not
//! said either it is `*`. The document depends on the policies alone, so that two of them can be compared.

mod ebs;
mod rds;
mod secrets;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::context::Context;
use super::references;
use crate::base::{Error, Result, ResultExt as _};
use crate::policy::{self, Environment, Policy, Source};

/// What a role is allowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyDocument {
    /// AWS's version of the language.
    #[serde(rename = "Version")]
    pub version: &'static str,
    /// The statements, by name.
    #[serde(rename = "Statement")]
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Its name.
    pub sid: String,
    /// Always `Allow`.
    pub effect: &'static str,
    /// Actions.
    pub action: BTreeSet<&'static str>,
    /// Of what.
    pub resource: BTreeSet<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Value>,
}

/// Statements in the making: those of the same name are one, with the actions and resources of all.
#[derive(Debug, Default)]
struct Grants(BTreeMap<&'static str, Grant>);

#[derive(Debug, Default)]
struct Grant {
    actions: BTreeSet<&'static str>,
    resources: BTreeSet<String>,
    /// Operator → key → values.
    conditions: BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
}

impl Grants {
    fn allow(&mut self, sid: &'static str, actions: &[&'static str], resources: impl IntoIterator<Item = String>) -> &mut Grant {
        let grant = self.0.entry(sid).or_default();
        grant.actions.extend(actions);
        grant.resources.extend(resources);
        grant
    }

    fn document(self) -> PolicyDocument {
        let statements = self.0.into_iter().map(|(sid, grant)| Statement {
            sid: sid.to_owned(),
            effect: "Allow",
            action: grant.actions,
            resource: grant.resources,
            condition: (!grant.conditions.is_empty()).then(|| json!(grant.conditions)),
        });
        PolicyDocument { version: "2012-10-17", statements: statements.collect() }
    }
}

impl Grant {
    fn when(&mut self, operator: &'static str, key: &str, value: impl Into<String>) -> &mut Self {
        self.conditions.entry(operator).or_default().entry(key.to_owned()).or_default().insert(value.into());
        self
    }
}

/// The document for one policy, or for all of the folder.
pub async fn document(cx: &Context, policy: Option<&str>) -> Result<PolicyDocument> {
    let policies = match policy {
        Some(name) => vec![cx.policy(name)?],
        None => policy::load_all(&cx.directory())?,
    };
    let mut grants = Grants::default();
    for policy in &policies {
        grant(policy, &cx.env, &mut grants).await.context(|| policy.name.to_string())?;
    }
    if grants.0.is_empty() {
        return Err(Error::not_found("nothing of these policies is in AWS").hint("there is nothing that a role must be allowed"));
    }
    Ok(grants.document())
}

async fn grant(policy: &Policy, env: &Environment, grants: &mut Grants) -> Result<()> {
    for template in policy.templates() {
        for reference in template.aws_references() {
            secrets::grant(reference, grants);
        }
    }
    // The address decides which bucket it is, so that a reference in it must be resolved here.
    references::fetch(&policy.store.url, env).await?;
    store::grant(policy, &policy.store_url(env)?, grants);
    if let Some(sns) = &policy.notify.sns {
        references::fetch(&sns.topic, env).await?;
        grants.allow("Notify", &["sns:Publish"], [sns.topic(env)?]);
    }
    match &policy.source {
        Source::Postgres(_) => {}
        Source::Ebs(source) => ebs::grant(policy, source, grants),
        Source::Rds(source) => rds::grant(policy, source, grants),
    }
    Ok(())
}

/// `aws`, `aws-cn` or `aws-us-gov`, by a region.
fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// What reading, copying and making encrypted snapshots takes of their keys, by way of a service alone.
const KEY_ACTIONS: &[&str] = &[
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];

/// The keys of encrypted snapshots: which they are is known to the snapshots, not to the policy.
fn keys(grants: &mut Grants, sid: &'static str, service: &str, regions: &[&str]) {
    for region in regions {
        let suffix = if partition(region) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let arn = format!("arn:{}:kms:{region}:*:key/*", partition(region));
        grants.allow(sid, KEY_ACTIONS, [arn]).when("StringEquals", "kms:ViaService", format!("{service}.{region}.{suffix}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_one_name_are_one() {
        let mut grants = Grants::default();
        grants.allow("B", &["s3:PutObject"], ["b".to_owned()]);
        grants.allow("A", &["sns:Publish"], ["x".to_owned()]).when("StringEquals", "k", "v");
        grants.allow("A", &["sns:Publish"], ["y".to_owned()]).when("StringEquals", "k", "w");
        let document = grants.document();
        assert_eq!(document.statements.iter().map(|s| s.sid.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(document.statements[0].resource.len(), 2);
        assert_eq!(document.statements[0].condition, Some(json!({ "StringEquals": { "k": ["v", "w"] } })));
        assert_eq!(partition("us-gov-west-1"), "aws-us-gov");
    }
}
