//! The account of AWS that the credentials are of: what is not found in one account may well be there in another.

use aws_sdk_sts::Client;

use super::aws::{self, Repeat};
use crate::base::{Error, Result};

/// Refuses credentials of another account than `expected`, in which a backup's snapshots are; the backups of the first versions do not say in which. Asked
/// where nothing of a backup is found, and not before: what is found is in the right account, and networks that reach no STS are common.
pub async fn expect(expected: Option<&str>, region: &str) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    let client = Client::new(&aws::config(Some(region), Repeat::Freely).await?);
    let answer = client.get_caller_identity().send().await;
    let answer = answer.map_err(|e| aws::failure("ask which account the credentials are of", "sts:GetCallerIdentity", e))?;
    match answer.account() {
        Some(account) if account == expected => Ok(()),
        account => Err(Error::denied(format!(
            "the backup's snapshots are in account {expected}, the credentials are of account {}",
            account.unwrap_or("unknown")
        ))
        .hint("use credentials of that account, for example with AWS_PROFILE or by assuming a role in it")),
    }
}

/// The account in an ARN.
pub fn of_arn(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}
