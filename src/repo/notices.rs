//! What was told to people: one log for each topic, so that a message is sent once however many processes watch the vault.
//!
//! An entry is made with create-if-absent under the number after the last one's. Of two processes that decide the same thing on the same
//! state only one makes the entry, and it alone sends; the other reads again and finds that there is nothing left to say. The last
//! entry of a topic is its whole state, so older ones may be removed by anybody at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::vault::Vault;
use crate::base::clock::{add, elapsed};
use crate::base::ids::{BackupId, RunId};
use crate::base::limits::{NOTICES_KEPT, NOTIFY_CLAIM};
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::{ETag, Key, PutMode, StoreError};

/// What can be wrong, as far as one message about it makes another one superfluous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Runs fail, are suspicious, or lose their lease.
    Backup,
    /// The newest good backup is too old.
    Age,
    /// Verifications fail.
    Verification,
    /// Prunes fail.
    Prune,
    /// Calls of the heartbeat address that did not arrive. Nothing is decided from it but what is sent again.
    Heartbeat,
    /// Tests that somebody asked for.
    Test,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 6] = [Self::Backup, Self::Age, Self::Verification, Self::Prune, Self::Heartbeat, Self::Test];

    /// Its name in keys and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Age => "age",
            Self::Verification => "verification",
            Self::Prune => "prune",
            Self::Heartbeat => "heartbeat",
            Self::Test => "test",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }
}

/// How far a message came on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Being sent; when that takes longer than it can, whoever finds it sends it again.
    Pending,
    /// The other side took it.
    Sent,
    /// It did not arrive and will be sent again.
    Failed,
    /// It did not arrive and will not be sent again.
    GivenUp,
}

/// A message on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// `webhook`, `email`, `sns` or `heartbeat`.
    pub channel: String,
    /// How far it came.
    pub state: DeliveryState,
    /// Times that sending was begun.
    pub tries: u32,
    /// When it was last begun.
    pub last_try_at: Timestamp,
    /// When it may be sent again; none once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Why it did not arrive; holds no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Delivery {
    /// Whose sending begins now.
    pub fn begin(channel: &str, now: Timestamp) -> Self {
        Self {
            channel: channel.to_owned(),
            state: DeliveryState::Pending,
            tries: 1,
            last_try_at: now,
            next_try_at: Some(add(now, NOTIFY_CLAIM)),
            error: None,
        }
    }

    /// Whether nobody will send it again.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, DeliveryState::Sent | DeliveryState::GivenUp)
    }

    /// Whether it is known not to have arrived, or nobody has said so for longer than sending takes.
    fn is_lost(&self, now: Timestamp) -> bool {
        match self.state {
            DeliveryState::Sent => false,
            DeliveryState::Failed | DeliveryState::GivenUp => true,
            DeliveryState::Pending => elapsed(self.last_try_at, now) > NOTIFY_CLAIM,
        }
    }
}

/// `notices/<topic>-<number>.json`: one message, and the state of its topic after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Random identity of this message; receivers may use it to drop repetitions.
    pub id: String,
    /// Its topic.
    pub topic: Topic,
    /// Its number in the topic's log, from 1.
    pub number: u64,
    /// The event, by its name in policies; `test` and `heartbeat` beside them.
    pub event: String,
    /// When it was decided.
    pub at: Timestamp,
    /// When what it is about began.
    pub since: Timestamp,
    /// Whether the problem lasts; false: this message ended it.
    pub open: bool,
    /// Messages about this problem, this one included.
    pub told: u32,
    /// How many of them repeated what had been said.
    pub reminders: u32,
    /// What the problem's causes were, without the numbers in them: what is not new is only repeated.
    #[serde(default)]
    pub causes: Vec<String>,
    /// One line.
    pub title: String,
    /// What happened.
    #[serde(default)]
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The machine that says so.
    pub host: String,
    /// The run that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The backup that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// One for each channel; none where the policy does not send this event and only the topic's state was kept.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// Last number of each topic's log, and every key.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    keys: BTreeMap<Topic, Vec<(u64, Key)>>,
}

impl Logs {
    /// Lists the logs: one request.
    pub async fn list(vault: &Vault) -> Result<Self> {
        let prefix = vault.layout.notices();
        let mut logs = Self::default();
        let mut objects = vault.store.list(&prefix);
        while let Some(object) = objects.try_next().await.map_err(Error::from).context(|| format!("list '{prefix}'"))? {
            if let Some((topic, number)) = vault.layout.notice_of(&object.key)
                && let Some(topic) = Topic::named(topic)
            {
                logs.keys.entry(topic).or_default().push((number, object.key.clone()));
            }
        }
        logs.keys.values_mut().for_each(|keys| keys.sort());
        Ok(logs)
    }

    /// Number of the last entry of `topic`; 0 when there is none.
    pub fn last_number(&self, topic: Topic) -> u64 {
        self.keys.get(&topic).and_then(|k| k.last()).map_or(0, |(number, _)| *number)
    }

    /// The last entry of `topic` and its version; `None` when there is none, or when it cannot be read: then nothing is known to
    /// have been said.
    pub async fn last(&self, vault: &Vault, topic: Topic) -> Result<Option<(Notice, ETag)>> {
        let Some((_, key)) = self.keys.get(&topic).and_then(|k| k.last()) else { return Ok(None) };
        match document::find_versioned(vault.store.as_ref(), key).await {
            Err(e) if matches!(e.kind(), Kind::Integrity | Kind::Unsupported) => {
                tracing::warn!(%key, error = %e, "a notice cannot be read and is left out");
                Ok(None)
            }
            other => other,
        }
    }

    /// Entries that are no longer needed after one more is made.
    fn old(&self, topic: Topic) -> &[(u64, Key)] {
        let keys = self.keys.get(&topic).map_or(&[][..], Vec::as_slice);
        &keys[..(keys.len() + 1).saturating_sub(NOTICES_KEPT)]
    }
}

/// Makes the entry `notice` and removes old ones of its topic. `None`: somebody else made an entry of this number.
pub async fn append(vault: &Vault, logs: &Logs, notice: &Notice) -> Result<Option<ETag>> {
    let key = vault.layout.notice(notice.topic.as_str(), notice.number);
    let etag = match document::put(vault.store.as_ref(), &key, notice, PutMode::Create).await {
        Ok(etag) => etag,
        Err(StoreError::AlreadyExists(_)) => match document::find_versioned::<Notice>(vault.store.as_ref(), &key).await? {
            // Our own write, whose answer was lost.
            Some((there, etag)) if there.id == notice.id => etag,
            _ => return Ok(None),
        },
        Err(e) => return Err(Error::from(e)).context(|| format!("write '{key}'")),
    };
    for (_, old) in logs.old(notice.topic) {
        if let Err(error) = vault.store.delete(old).await {
            tracing::debug!(key = %old, %error, "an old notice could not be removed; the next one tries again");
        }
    }
    Ok(Some(etag))
}

/// Writes an entry's deliveries as they are now, if nobody changed it since `seen`. `None`: somebody did.
pub async fn update(vault: &Vault, notice: &Notice, seen: ETag) -> Result<Option<ETag>> {
    let key = vault.layout.notice(notice.topic.as_str(), notice.number);
    match document::put(vault.store.as_ref(), &key, notice, PutMode::Replace(seen)).await {
        Ok(etag) => Ok(Some(etag)),
        Err(StoreError::Precondition(_) | StoreError::NotFound(_)) => {
            match document::find_versioned::<Notice>(vault.store.as_ref(), &key).await? {
                // Our own write, whose answer was lost.
                Some((there, etag)) if there == *notice => Ok(Some(etag)),
                _ => Ok(None),
            }
        }
        Err(e) => Err(Error::from(e)).context(|| format!("write '{key}'")),
    }
}

/// The last entry of every topic.
pub async fn newest(vault: &Vault) -> Result<Vec<Notice>> {
    let logs = Logs::list(vault).await?;
    let mut notices = Vec::new();
    for topic in Topic::ALL {
        notices.extend(logs.last(vault, topic).await?.map(|(notice, _)| notice));
    }
    Ok(notices)
}

/// A channel whose newest messages did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The channel.
    pub channel: String,
    /// Messages that did not arrive since the last one that did.
    pub messages: u32,
    /// Why the newest of them did not, if known.
    pub error: Option<String>,
}

/// Which of `channels` do not work, by what is known of the last message of each topic. One that arrives later, a test too, shows that the
/// channel works again.
pub fn broken(newest: &[Notice], channels: &[&str], now: Timestamp) -> Vec<Broken> {
    let of = |channel: &str| {
        let mut all: Vec<&Delivery> = newest.iter().flat_map(|n| &n.deliveries).filter(|d| d.channel == channel).collect();
        all.sort_by_key(|d| d.last_try_at);
        let lost: Vec<&Delivery> =
            all.into_iter().rev().take_while(|d| d.state != DeliveryState::Sent).filter(|d| d.is_lost(now)).collect();
        let error = lost.first().and_then(|d| d.error.clone());
        (!lost.is_empty()).then(|| Broken { channel: channel.to_owned(), messages: lost.len() as u32, error })
    };
    channels.iter().filter_map(|channel| of(channel)).collect()
}

/// When a message that failed `tries` times may be sent again; `None`: never.
pub fn next_try(at: Timestamp, tries: u32, now: Timestamp, pauses: &[Duration], max_age: Duration) -> Option<Timestamp> {
    let pause = pauses.get((tries as usize).checked_sub(1)?)?;
    (elapsed(at, now) < max_age).then(|| add(now, *pause))
}
