//! Reading lines: one after the other, none longer than a mebibyte, and none able to stop the rest.

use std::io::{self, BufRead, Read};

use super::line::Line;

/// The longest line that is read.
const MAX_LINE: u64 = 1 << 20;

/// What is wrong with a line of a trace. Only [`TraceError::Io`] ends the reading.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be read on.
    #[error("line {line}: {source}")]
    Io {
        /// Lines count from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Longer than a mebibyte.
    #[error("line {line}: longer than 1 MiB")]
    TooLong {
        /// Which.
        line: u64,
    },
    /// No JSON object with the members it should have.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Which.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Time went back.
    #[error("line {line}: t is {t} s after {previous} s; a trace is ordered by t")]
    Order {
        /// Which.
        line: u64,
        /// Its time, seconds.
        t: f64,
        /// The time before, seconds.
        previous: f64,
    },
    /// A process twice at one time.
    #[error("line {line}: process {pid} is there a second time at {t} s")]
    Repeated {
        /// Which.
        line: u64,
        /// The process.
        pid: u32,
        /// When, seconds.
        t: f64,
    },
    /// More of something than a host can have.
    #[error("line {line}: more than {most} {what}")]
    TooMany {
        /// Which.
        line: u64,
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A later version's trace.
    #[error(
        "line {line}: schema {schema} is newer than this version reads (1); what it does not know is ignored"
    )]
    Schema {
        /// Which.
        line: u64,
        /// The schema.
        schema: u32,
    },
}

impl TraceError {
    /// The line it is about, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        match *self {
            Self::Io { line, .. }
            | Self::TooLong { line }
            | Self::Malformed { line, .. }
            | Self::Order { line, .. }
            | Self::Repeated { line, .. }
            | Self::TooMany { line, .. }
            | Self::Schema { line, .. } => line,
        }
    }
}

/// The lines of a trace with their numbers. Blank lines are passed over.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R: BufRead> LineReader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), number: 0, ended: false }
    }

    /// The next line's bytes into the buffer: whether there was one, and whether all of it is there.
    fn fill(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let read = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let whole =
            self.buffer.ends_with(b"\n") || (read as u64) < MAX_LINE || self.input.fill_buf()?.is_empty();
        if !whole {
            self.input.skip_until(b'\n')?;
        }
        Ok(Some(whole))
    }
}

impl<R: BufRead> Iterator for LineReader<R> {
    type Item = Result<(u64, Line), TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.number += 1;
            let line = self.number;
            match self.fill() {
                Ok(Some(true)) if self.buffer.trim_ascii().is_empty() => {}
                Ok(Some(true)) => {
                    let parsed = serde_json::from_slice(&self.buffer);
                    return Some(
                        parsed
                            .map(|parsed| (line, parsed))
                            .map_err(|e| TraceError::Malformed { line, reason: e.to_string() }),
                    );
                }
                Ok(Some(false)) => return Some(Err(TraceError::TooLong { line })),
                Ok(None) => self.ended = true,
                Err(source) => {
                    self.ended = true;
                    return Some(Err(TraceError::Io { line, source }));
                }
            }
        }
        None
    }
}
