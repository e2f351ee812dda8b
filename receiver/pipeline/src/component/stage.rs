//! Where a part of this crate can lose something: the `stage` of each [`Loss`](super::Loss).

/// The next part refused a batch.
pub const BATCH: &str = "batch";
/// The sending queue was full.
pub const QUEUE_FULL: &str = "queue_full";
/// The destination will never take the request.
pub const REFUSED: &str = "refused";
/// The destination took the request and threw items away.
pub const REJECTED: &str = "rejected";
/// The destination did not take the request in the time there was for it.
pub const RETRY_EXHAUSTED: &str = "retry_exhausted";
/// An item alone is larger than the destination takes.
pub const TOO_LARGE: &str = "too_large";
/// The service stopped before it was delivered.
pub const SHUTDOWN: &str = "shutdown";
/// It could not be written to its file, or has no line in the file's format.
pub const FILE: &str = "file";
/// It could not be written to standard output.
pub const DEBUG: &str = "debug";
/// Prometheus has no form for it.
pub const PROMETHEUS: &str = "prometheus";
/// There is no room for another series.
pub const SERIES_LIMIT: &str = "series_limit";

/// All of them, for counters that are to stand at zero from the start.
pub const ALL: [&str; 11] = [
    BATCH,
    QUEUE_FULL,
    REFUSED,
    REJECTED,
    RETRY_EXHAUSTED,
    TOO_LARGE,
    SHUTDOWN,
    FILE,
    DEBUG,
    PROMETHEUS,
    SERIES_LIMIT,
];
