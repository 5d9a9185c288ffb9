//! EBS volumes as a source, through the real binary, against the AWS endpoint of the tests.

mod account;
mod answers;
mod backup;
mod faults;
mod keep;
mod left;
mod restore;
mod support;
