//! What must have been unmapped although nobody has told so yet.
//!
//! Events of several CPUs come a bit out of order: a thread unmaps, another one maps the same pages and is heard first.
//! What was there is taken for gone at once; the event that comes late must then not hit what is there now.

use std::collections::VecDeque;
use std::time::Duration;

use super::regions::Piece;

/// An event is not later than this, or it is not the one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pieces that are owed at once; the oldest go first.
const MAX_DEBTS: usize = 1024;

/// Start and end.
type Span = (u64, u64);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Debts<T> {
    /// Since when, and what; oldest first.
    owed: VecDeque<(Duration, Piece<T>)>,
}

impl<T: Copy> Debts<T> {
    pub(super) fn new() -> Self {
        Self { owed: VecDeque::new() }
    }

    pub(super) fn owe(&mut self, at: Duration, piece: Piece<T>) {
        if self.owed.len() >= MAX_DEBTS {
            self.owed.pop_front();
        }
        self.owed.push_back((at, piece));
    }

    /// A stretch is told to be unmapped, or moved. What of it was owed, and what is left of it to be unmapped now.
    pub(super) fn settle(&mut self, at: Duration, start: u64, end: u64) -> (Vec<Piece<T>>, Vec<Span>) {
        self.owed.retain(|(since, _)| at.saturating_sub(*since) <= PATIENCE);
        let (mut settled, mut open) = (Vec::new(), vec![(start, end)]);
        for (since, piece) in std::mem::take(&mut self.owed) {
            let owed = (piece.start, piece.end);
            // The same pages may be owed twice: one event settles the older debt alone.
            let met: Vec<_> = open.iter().filter_map(|span| common(*span, owed)).collect();
            let mut rest = vec![owed];
            for (start, end) in met {
                open = without(&open, (start, end));
                rest = without(&rest, (start, end));
                settled.push(Piece { start, end, of: piece.of });
            }
            self.owed
                .extend(rest.into_iter().map(|(start, end)| (since, Piece { start, end, of: piece.of })));
        }
        self.owed.truncate(MAX_DEBTS);
        (settled, open)
    }
}

fn common(one: Span, other: Span) -> Option<Span> {
    let both = (one.0.max(other.0), one.1.min(other.1));
    (both.0 < both.1).then_some(both)
}

fn without(spans: &[Span], gone: Span) -> Vec<Span> {
    let parts = |span: &Span| [(span.0, span.1.min(gone.0)), (span.0.max(gone.1), span.1)];
    spans.iter().flat_map(parts).filter(|(start, end)| start < end).collect()
}
