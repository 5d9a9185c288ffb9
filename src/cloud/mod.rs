//! AWS beside the store: the few calls that policies need, each service behind its own file. No type of an SDK leaves this module.
//!
//! [`aws`] has what all of them share: configuration and credentials as every AWS tool finds them, and one mapping of AWS's errors to ours.

pub mod account;
pub mod aws;
pub mod device;
pub mod ebs;
mod presign;
pub mod rds;
pub mod secrets;
pub mod ssm;
pub mod tags;
