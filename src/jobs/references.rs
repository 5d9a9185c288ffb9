//! Fetches the secrets that references name at AWS, so that they can be resolved: anew for each use, kept in memory only.

use futures::future::try_join_all;

use crate::base::secret::Secret;
use crate::base::{Result, ResultExt as _};
use crate::cloud;
use crate::policy::aws_refs::{AwsReference, Keeper};
use crate::policy::secrets::of_command_line;
use crate::policy::{Environment, Template};

/// Fetches into `env` what `template` names.
pub async fn fetch(template: &Template, env: &Environment) -> Result<()> {
    let fetches = template.aws_references().map(|reference| async {
        let value = value(reference).await.context(|| template.place())?;
        env.keep_fetched(reference.clone(), value);
        Ok(())
    });
    try_join_all(fetches).await.map(|_: Vec<()>| ())
}

/// The value of a template, fetched and resolved.
pub async fn resolve(template: &Template, env: &Environment) -> Result<Secret<String>> {
    fetch(template, env).await?;
    template.resolve(env)
}

/// A value that a command line names: itself, or a reference as in a policy.
pub async fn resolve_argument(text: &str, env: &Environment) -> Result<Secret<String>> {
    resolve(&of_command_line(text)?, env).await
}

async fn value(reference: &AwsReference) -> Result<Secret<String>> {
    let region = reference.region.as_deref();
    match reference.keeper {
        Keeper::SecretsManager => cloud::secrets::secret(region, &reference.name, reference.key.as_deref()).await,
        Keeper::ParameterStore => cloud::secrets::parameter(region, &reference.name).await,
    }
}
