//! Who is to blame, and what that rests on.

use mlh_detect::{Says, Spare, Testimonies, Testimony};

use super::attributes::Attributes;
use super::words::{printable, size};
use super::{stack, target};
use crate::ladder::{GROWTH_PAGES as SOURCE, Kind, Knowledge, LAST_WRITERS, Lead};
use crate::semconv;

/// Culprits that are told.
const MOST: usize = 3;
/// A kind is named beside who is to blame if it is so much of the growth.
const MOST_OF_IT: f64 = 0.5;
/// Sentences on what was not seen that are told.
const MOST_NOT_SEEN: usize = 8;

/// Who is to blame, each with a share; of the first one the stack as well.
pub(super) fn tell(attributes: &mut Attributes, known: &Knowledge) {
    if !known.kinds.is_empty() {
        attributes.texts(semconv::GROWING_KINDS, known.kinds.iter().take(MOST).map(kind));
    }
    if !known.not_seen.is_empty() {
        let not_seen = known.not_seen.iter().take(MOST_NOT_SEEN);
        attributes.texts(semconv::NOT_SEEN, not_seen.map(|sentence| printable(sentence)));
    }
    let Some(first) = known.leads.first() else { return };
    attributes.texts(semconv::CULPRITS, known.leads.iter().take(MOST).map(culprit));
    attributes.share(semconv::CULPRIT_SHARE, first.share);
    attributes.text(semconv::CULPRIT_SOURCE, known.source);
    attributes.text_if(semconv::GROWTH_PATTERN, first.pattern);
    match first.count {
        Some(count) => {
            attributes.integer(semconv::LIVE_BYTES, first.bytes);
            attributes.integer(semconv::LIVE_COUNT, count);
        }
        None => attributes.integer(semconv::KEPT_BYTES, first.bytes),
    }
    target::traced(attributes, &first.trace);
}

/// What the rungs of the ladder have said, the cheapest first: `source:says` each.
pub(super) fn evidence(attributes: &mut Attributes, evidence: &Testimonies) {
    let mut told = evidence.iter().map(said).peekable();
    if told.peek().is_some() {
        attributes.texts(semconv::EVIDENCE, told);
    }
}

fn said(testimony: &Testimony) -> String {
    let says = match testimony.says {
        Says::Kept { .. } => "kept",
        Says::Spare(Spare::Garbage) => "garbage",
        Says::Spare(Spare::Retained) => "retained",
        Says::Spare(Spare::Copies) => "copies",
        Says::Spare(Spare::InUse) => "in_use",
        Says::Unclear(_) => "unclear",
    };
    format!("{}:{says}", testimony.source)
}

/// `93 % remember (session.cc:88)`, or `38 % store (app.js:29) through sum.node`.
pub(crate) fn culprit(lead: &Lead) -> String {
    let who = match stack::blamed(&lead.trace) {
        Some(who) => who,
        None if lead.trace.frames.is_empty() => format!("stack {}", stack::hash(&lead.trace)),
        None => "no frame of the program".to_owned(),
    };
    format!("{} % {who}", percent(lead.share))
}

/// `71 % shop::Order`.
fn kind(kind: &Kind) -> String {
    format!("{} % {}", percent(kind.share), stack::name(&kind.name))
}

/// For the sentence of a verdict: who keeps the most, and what most of it is.
pub(super) fn clause(known: &Knowledge) -> Option<String> {
    let of_kind =
        |kind: &Kind| format!("{} % of the growth is {}", percent(kind.share), stack::name(&kind.name));
    let Some((lead, who)) = known.leads.first().and_then(|lead| Some((lead, stack::blamed(&lead.trace)?)))
    else {
        return known.kinds.first().map(of_kind);
    };
    let share = percent(lead.share);
    let mut clause = match lead.count {
        Some(_) => format!("of what is tracked of it {who} holds the most, {}", size(lead.bytes)),
        None if known.source == SOURCE => format!("{share} % of what stays was touched first for {who}"),
        None if known.source == LAST_WRITERS => {
            format!("{who} was the last to write to {share} % of what stays")
        }
        None => format!("{share} % of what lives and grows was allocated by {who}"),
    };
    let kind = known.kinds.first().filter(|kind| kind.share >= MOST_OF_IT).map(of_kind);
    for more in lead.remark.map(str::to_owned).into_iter().chain(kind) {
        clause.push_str(", ");
        clause.push_str(&more);
    }
    Some(clause)
}

fn percent(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u64
}
