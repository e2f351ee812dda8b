//! Waiting for what another process does.

use std::time::{Duration, Instant};

/// Tries until `attempt` yields a value. The deadline is for giving up, so it may be generous: nothing passes or
/// fails by how fast the machine is.
///
/// # Errors
/// After `deadline`, with `what` was waited for; at once, where the attempt itself fails for good.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        anyhow::ensure!(begin.elapsed() < deadline, "not within {} s: {what}", deadline.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
