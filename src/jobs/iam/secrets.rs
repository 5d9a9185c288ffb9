//! Secrets that references name, and the keys that they are encrypted with.

use super::{Grants, partition};
use crate::policy::aws_refs::{AwsReference, Keeper};

pub(super) fn grant(reference: &AwsReference, grants: &mut Grants) {
    let region = reference.region.as_deref().unwrap_or("*");
    let partition = partition(region);
    let (service, sid, actions, arn) = match reference.keeper {
        Keeper::SecretsManager => {
            // A secret's ARN ends in six characters that its name does not tell.
            let arn =
                arn(&reference.name, || format!("arn:{partition}:secretsmanager:{region}:*:secret:{}-??????", reference.name));
            ("secretsmanager", "Secrets", ["secretsmanager:GetSecretValue"], arn)
        }
        Keeper::ParameterStore => {
            let path = reference.name.split(':').next().unwrap_or_default();
            let arn =
                arn(&reference.name, || format!("arn:{partition}:ssm:{region}:*:parameter/{}", path.trim_start_matches('/')));
            ("ssm", "Parameters", ["ssm:GetParameter"], arn)
        }
    };
    grants.allow(sid, &actions, [arn]);
    let suffix = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    grants.allow("SecretsKeys", &["kms:Decrypt"], [format!("arn:{partition}:kms:{region}:*:key/*")]).when(
        "StringLike",
        "kms:ViaService",
        format!("{service}.{region}.{suffix}"),
    );
}

fn arn(name: &str, of_name: impl Fn() -> String) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { of_name() }
}
