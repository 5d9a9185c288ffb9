//! Progress on a terminal as a bar with rate and time left, elsewhere as plain lines on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Global, ProgressMode};
use crate::base::clock::Stopwatch;
use crate::base::progress::{Progress, SharedProgress, Silent};
use crate::base::units::{format_bytes, format_duration};

/// What the options and the terminal ask for.
pub(super) fn choose(global: &Global) -> SharedProgress {
    if global.quiet || global.progress == ProgressMode::Never {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() && !global.json {
        Arc::new(Bars(Mutex::new(None)))
    } else if global.json {
        Arc::new(Silent)
    } else {
        Arc::new(Lines(Mutex::new(None)))
    }
}

#[derive(Debug)]
struct Bars(Mutex<Option<ProgressBar>>);

impl Bars {
    fn with(&self, f: impl FnOnce(&mut Option<ProgressBar>)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bars {
    fn stage(&self, name: &str, total: Option<u64>) {
        self.with(|bar| {
            if let Some(old) = bar.take() {
                old.finish_and_clear();
            }
            let new = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            new.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let template = if total.is_some() {
                "{msg:<12} {wide_bar} {bytes:>10}/{total_bytes} {binary_bytes_per_sec} {eta}"
            } else {
                "{msg:<12} {spinner} {bytes} {binary_bytes_per_sec}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                new.set_style(style);
            }
            new.set_message(name.to_owned());
            new.enable_steady_tick(Duration::from_millis(250));
            *bar = Some(new);
        });
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| {
            if let Some(bar) = bar {
                bar.inc(bytes);
            }
        });
    }

    fn note(&self, line: &str) {
        self.with(|bar| match bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        });
    }

    fn finish(&self) {
        self.with(|bar| {
            if let Some(old) = bar.take() {
                old.finish_and_clear();
            }
        });
    }
}

#[derive(Debug)]
struct Stage {
    name: String,
    bytes: u64,
    started: Stopwatch,
}

/// One line when a stage ends.
#[derive(Debug)]
struct Lines(Mutex<Option<Stage>>);

impl Lines {
    fn close(stage: &mut Option<Stage>) {
        if let Some(stage) = stage.take() {
            let bytes = if stage.bytes > 0 { format!("{}, ", format_bytes(stage.bytes)) } else { String::new() };
            say(&format!("{}: {bytes}{}", stage.name, format_duration(stage.started.elapsed())));
        }
    }
}

impl Progress for Lines {
    fn stage(&self, name: &str, _total: Option<u64>) {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self::close(&mut stage);
        *stage = Some(Stage { name: name.to_owned(), bytes: 0, started: Stopwatch::start() });
    }

    fn advance(&self, bytes: u64) {
        if let Some(stage) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            stage.bytes += bytes;
        }
    }

    fn note(&self, line: &str) {
        say(line);
    }

    fn finish(&self) {
        Self::close(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn say(line: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{line}");
}
