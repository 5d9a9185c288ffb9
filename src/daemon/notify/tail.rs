//! The last lines of a run, for the message about its failure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::SharedClock;
use crate::base::progress::{Progress, SharedProgress};

/// Lines that are kept.
const LINES: usize = 60;

/// Passes progress on and keeps its last lines: stages with the time at which they began, and notes.
#[derive(Debug)]
pub struct Tail {
    inner: SharedProgress,
    clock: SharedClock,
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    /// Around the progress of one run.
    pub fn new(inner: SharedProgress, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { inner, clock, lines: Mutex::new(VecDeque::new()) })
    }

    /// The lines, oldest first.
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn keep(&self, line: &str) {
        let line = format!("{} {line}", self.clock.now().strftime("%H:%M:%SZ"));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > LINES {
            lines.pop_front();
        }
    }
}

impl Progress for Tail {
    fn stage(&self, name: &str, total: Option<u64>) {
        self.keep(&format!("stage {name}"));
        self.inner.stage(name, total);
    }
    fn advance(&self, bytes: u64) {
        self.inner.advance(bytes);
    }
    fn note(&self, line: &str) {
        self.keep(line);
        self.inner.note(line);
    }
    fn finish(&self) {
        self.inner.finish();
    }
}
