//! libbpf's own messages: to the caller's log, and the last of them into errors. Never to standard error.

use std::collections::VecDeque;
use std::sync::{Mutex, Once, PoisonError};

use libbpf_rs::PrintLevel;

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed; the call that did so returns an error as well.
    Warn,
    /// Progress.
    Info,
    /// For somebody who debugs libbpf.
    Debug,
}

/// Where messages go. It is called on the thread that called into this crate and may be called by several at once.
pub type Sink = fn(Level, &str);

/// Lines kept of what was last complained of: enough for the end of a verifier log.
const KEPT_LINES: usize = 40;
/// Bytes kept of a line.
const KEPT_BYTES: usize = 400;

struct State {
    sink: Option<Sink>,
    last: VecDeque<String>,
}

static STATE: Mutex<State> = Mutex::new(State { sink: None, last: VecDeque::new() });
static INSTALL: Once = Once::new();

/// Sends libbpf's messages to `sink` from now on. Until then only errors repeat what libbpf said.
pub fn set_sink(sink: Sink) {
    install();
    with(|state| state.sink = Some(sink));
}

/// Takes libbpf's messages away from standard error. libbpf has one such switch for the whole process.
pub(crate) fn install() {
    INSTALL.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Debug, receive)));
    });
}

pub(crate) fn forget() {
    with(|state| state.last.clear());
}

/// The last lines that libbpf warned of since [`forget`].
pub(crate) fn last() -> Vec<String> {
    with(|state| state.last.iter().cloned().collect())
}

fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    act(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

// The signature is libbpf-rs's.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn receive(level: PrintLevel, text: String) {
    let level = match level {
        PrintLevel::Warn => Level::Warn,
        PrintLevel::Info => Level::Info,
        PrintLevel::Debug => Level::Debug,
    };
    let sink = with(|state| {
        if level == Level::Warn {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                if state.last.len() == KEPT_LINES {
                    state.last.pop_front();
                }
                state.last.push_back(line.chars().take(KEPT_BYTES).collect());
            }
        }
        state.sink
    });
    // outside the lock: the sink may come back here
    if let Some(sink) = sink {
        sink(level, text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: warnings are kept for errors, bounded in number and length; other levels are not.
    #[test]
    fn keeps_the_last_warnings_bounded() {
        let _guard = crate::object::one_at_a_time();
        forget();
        receive(PrintLevel::Info, "not a complaint".into());
        for line in 0..100 {
            receive(PrintLevel::Warn, format!("line {line}\n\n"));
        }
        receive(PrintLevel::Warn, "x".repeat(10_000));
        let last = last();
        assert_eq!(last.len(), KEPT_LINES);
        assert_eq!(last.first().map(String::as_str), Some("line 61"));
        assert_eq!(last.last().map(String::len), Some(KEPT_BYTES));
        forget();
        assert!(super::last().is_empty());
    }
}
