//! Where references find their values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::aws_refs::AwsReference;
use crate::base::secret::Secret;

/// Where references find their values. Clones share what was fetched.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: Variables,
    fetched: Arc<Mutex<Fetched>>,
}

#[derive(Debug, Clone)]
enum Variables {
    /// The process's own.
    Process,
    /// These and no others; for tests.
    Fixed(BTreeMap<String, Secret<String>>),
}

/// What AWS gave, in memory only.
#[derive(Debug, Default)]
struct Fetched {
    values: BTreeMap<AwsReference, Secret<String>>,
    /// Values that were replaced by newer ones: they may still turn up in a text.
    replaced: Vec<Secret<String>>,
}

/// Replaced values that are remembered: rotations are rare.
const REPLACED: usize = 64;

impl Environment {
    /// The process's own variables.
    pub fn process() -> Self {
        Self { variables: Variables::Process, fetched: Arc::default() }
    }

    /// An environment of these variables alone.
    pub fn fixed<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(k, v)| (k.to_owned(), Secret::new(v.to_owned()))).collect();
        Self { variables: Variables::Fixed(variables), fetched: Arc::default() }
    }

    /// The variable's value; `None` when it is not set or not UTF-8.
    pub fn var(&self, name: &str) -> Option<Secret<String>> {
        match &self.variables {
            Variables::Process => std::env::var(name).ok().map(Secret::new),
            Variables::Fixed(variables) => variables.get(name).cloned(),
        }
    }

    /// The value that was fetched last for `reference`.
    pub fn fetched(&self, reference: &AwsReference) -> Option<Secret<String>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).values.get(reference).cloned()
    }

    /// Keeps what AWS gave for `reference`, in memory.
    pub fn keep_fetched(&self, reference: AwsReference, value: Secret<String>) {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let old = fetched.values.get(&reference).filter(|old| **old != value).cloned();
        fetched.values.insert(reference, value);
        if let Some(old) = old {
            if fetched.replaced.len() == REPLACED {
                fetched.replaced.remove(0);
            }
            fetched.replaced.push(old);
        }
    }

    /// Everything that AWS gave to this process, so that it can be kept out of texts.
    pub fn everything_fetched(&self) -> Vec<Secret<String>> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.values.values().chain(&fetched.replaced).cloned().collect()
    }
}
