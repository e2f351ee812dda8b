//! What viewers are to leave out: the allocator, and whoever allocates on behalf of others. Then what a function holds by itself is
//! what it is to blame for.

use std::collections::BTreeSet;

use mlh_stacks::trace::Trace;

use crate::records::words::printable;

/// Longer names are not left out.
const LONGEST: usize = 256;
/// Nor are more than so many. A report has some dozens.
const MOST: usize = 512;

/// Names as viewers compare them.
#[derive(Debug, Default)]
pub(super) struct Plumbing {
    /// Within whoever is to blame.
    within: BTreeSet<String>,
    /// Whoever is, and its callers: a function that is among them somewhere is left out nowhere.
    shown: BTreeSet<String>,
}

impl Plumbing {
    pub(super) fn add(&mut self, trace: &Trace) {
        let culprit = trace.culprit.unwrap_or(0);
        for (index, frame) in trace.frames.iter().enumerate() {
            let Some(function) = &frame.function else { continue };
            let name = simplified(&printable(function)).to_owned();
            let names = if index < culprit { &mut self.within } else { &mut self.shown };
            names.insert(name);
        }
    }

    /// A regular expression that fits all of them whole.
    pub(super) fn expression(&self) -> String {
        let names = self.within.difference(&self.shown);
        let names = names.filter(|name| !name.is_empty() && name.len() <= LONGEST).take(MOST);
        names.map(|name| quoted(name)).collect::<Vec<_>>().join("|")
    }
}

/// The name without its parameters, as `pprof` does it before it compares: cut off at the first bracket that is none of a name.
fn simplified(name: &str) -> &str {
    const NAMELESS: &str = "(anonymous namespace)";
    let name = name.strip_prefix('.').unwrap_or(name);
    let mut from = 0;
    while let Some(at) = name.get(from..).and_then(|rest| rest.find('(')).map(|at| from + at) {
        let (before, behind) = name.split_at(at);
        from = at
            + match behind {
                _ if behind.starts_with(NAMELESS) => NAMELESS.len(),
                _ if before.ends_with("operator") && behind.starts_with("()") => 2,
                _ => return before,
            };
    }
    name
}

/// So that it stands for itself.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for char in name.chars() {
        if r"\.+*?()|[]{}^$".contains(char) {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use mlh_stacks::trace::Frame;

    use super::*;

    /// Guarantees: names are cut as viewers cut them.
    #[test]
    fn names() {
        for (name, expected) in [
            ("operator new(unsigned long)", "operator new"),
            ("(anonymous namespace)::Pool::grow(int)", "(anonymous namespace)::Pool::grow"),
            ("Maker::operator()(int) const", "Maker::operator()"),
            ("main.(*Server).handle", "main."),
            (".malloc", "malloc"),
            ("malloc", "malloc"),
            ("(", ""),
        ] {
            assert_eq!(simplified(name), expected);
        }
    }

    /// Guarantees: what is within whoever is to blame is left out, and is taken literally; what is to blame for another stack, or calls
    /// it, is not, nor is a stack in which nobody is.
    #[test]
    fn what_is_left_out() {
        let trace = |names: &[&str], culprit| {
            let frame = |name: &&str| Frame { function: Some((*name).to_owned()), ..Frame::default() };
            Trace { frames: names.iter().map(frame).collect(), culprit, ..Trace::default() }
        };
        let mut plumbing = Plumbing::default();
        plumbing.add(&trace(&["malloc", "operator new[](unsigned long)", "grow(int)", "main"], Some(2)));
        plumbing.add(&trace(&["malloc", "grow(int)", "other", "main"], Some(2)));
        plumbing.add(&trace(&["mmap", "main"], None));
        plumbing.add(&trace(&["mmap", "main"], Some(1)));
        assert_eq!(plumbing.expression(), r"malloc|operator new\[\]");
        assert_eq!(Plumbing::default().expression(), "");
    }
}
