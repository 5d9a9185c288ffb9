//! The instants to which RDS's own automated backups can restore.

use aws_sdk_rds::types::Filter;
use jiff::Timestamp;

use super::{Rds, Unit, is_absent, time};
use crate::base::Result;
use crate::cloud::aws;

/// The instants to which the automated backups can restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub earliest: Timestamp,
    /// The last: usually five minutes ago.
    pub latest: Timestamp,
}

impl Window {
    /// Whether `at` is in it.
    pub fn covers(&self, at: Timestamp) -> bool {
        (self.earliest..=self.latest).contains(&at)
    }
}

/// Of which instance or cluster.
#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    /// The one that has this name, or had it last.
    Name(&'a str),
    /// The one with this immutable id, whatever its name is now.
    Resource(&'a str),
}

impl Of<'_> {
    fn what(&self) -> String {
        let (Self::Name(id) | Self::Resource(id)) = self;
        format!("read the automated backups of {id}")
    }
}

impl Rds {
    /// The window of point-in-time restores; `None` without automated backups. Also of what was deleted, while its automated backups are kept; of
    /// several that had the name, that of the one that lives, else the newest.
    pub async fn window(&self, unit: Unit, id: &str) -> Result<Option<Window>> {
        self.window_of(unit, Of::Name(id)).await
    }

    /// The same of the one with this immutable id.
    pub async fn window_by_resource(&self, unit: Unit, resource: &str) -> Result<Option<Window>> {
        self.window_of(unit, Of::Resource(resource)).await
    }

    async fn window_of(&self, unit: Unit, of: Of<'_>) -> Result<Option<Window>> {
        match unit {
            Unit::Instance => self.instance_window(of).await,
            Unit::Cluster => match self.living_cluster_window(of).await? {
                Some(living) => Ok(living.window),
                None => self.cluster_window(of).await,
            },
        }
    }

    async fn instance_window(&self, of: Of<'_>) -> Result<Option<Window>> {
        let call = self.client.describe_db_instance_automated_backups();
        let call = match of {
            Of::Name(id) => call.db_instance_identifier(id),
            Of::Resource(id) => call.dbi_resource_id(id),
        };
        let mut pages = call.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(backup) = pages.next().await {
            let backup = match backup.map_err(|e| aws::failure(&of.what(), "rds:DescribeDBInstanceAutomatedBackups", e)) {
                Err(error) if is_absent(&error) => return Ok(None),
                backup => backup?,
            };
            let window = backup.restore_window().map(|w| (time(w.earliest_time()), time(w.latest_time())));
            found.extend(window.and_then(whole).map(|window| (backup.status() == Some("active"), window)));
        }
        Ok(newest(found))
    }

    async fn living_cluster_window(&self, of: Of<'_>) -> Result<Option<Living>> {
        let call = self.client.describe_db_clusters();
        let call = match of {
            Of::Name(id) => call.db_cluster_identifier(id),
            Of::Resource(id) => call.filters(Filter::builder().name("db-cluster-resource-id").values(id).build()),
        };
        match call.send().await.map_err(|e| aws::failure(&of.what(), "rds:DescribeDBClusters", e)) {
            Err(error) if is_absent(&error) => Ok(None),
            answer => Ok(answer?
                .db_clusters
                .unwrap_or_default()
                .into_iter()
                .next()
                .map(|c| Living { window: whole((time(c.earliest_restorable_time()), time(c.latest_restorable_time()))) })),
        }
    }

    async fn cluster_window(&self, of: Of<'_>) -> Result<Option<Window>> {
        let call = self.client.describe_db_cluster_automated_backups();
        let call = match of {
            Of::Name(id) => call.db_cluster_identifier(id),
            Of::Resource(id) => call.db_cluster_resource_id(id),
        };
        let mut pages = call.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(backup) = pages.next().await {
            let backup = match backup.map_err(|e| aws::failure(&of.what(), "rds:DescribeDBClusterAutomatedBackups", e)) {
                Err(error) if is_absent(&error) => return Ok(None),
                backup => backup?,
            };
            let window = backup.restore_window().map(|w| (time(w.earliest_time()), time(w.latest_time())));
            found.extend(window.and_then(whole).map(|window| (backup.status() == Some("active"), window)));
        }
        Ok(newest(found))
    }
}

/// A cluster that is there, with automated backups or without.
struct Living {
    window: Option<Window>,
}

fn whole((earliest, latest): (Option<Timestamp>, Option<Timestamp>)) -> Option<Window> {
    Some(Window { earliest: earliest?, latest: latest? })
}

/// The window of the one that lives, else the newest.
fn newest(found: Vec<(bool, Window)>) -> Option<Window> {
    found.into_iter().max_by_key(|(lives, window)| (*lives, window.latest)).map(|(_, window)| window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_that_had_a_name_the_living_one_counts_and_else_the_newest() {
        let window = |latest| Window { earliest: Timestamp::UNIX_EPOCH, latest: Timestamp::new(latest, 0).expect("time") };
        assert_eq!(newest(vec![(false, window(1)), (false, window(3)), (false, window(2))]), Some(window(3)));
        assert_eq!(newest(vec![(false, window(3)), (true, window(2))]), Some(window(2)));
        assert_eq!(newest(Vec::new()), None);
    }
}
