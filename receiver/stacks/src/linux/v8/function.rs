//! What all closures of a function share: its name, and where in which script it stands.

use super::heap::{Heap, Tagged};
use super::text::text;
use crate::linux::demangle::clean;

/// Characters of a name; a longer one is none.
const MAX_NAME: usize = 1024;
/// Local names that stand beside each other; more of them stand elsewhere.
const MAX_LOCALS: usize = 75;
/// Local names that are counted at all.
const MOST_LOCALS: usize = 1 << 16;
/// Words behind the local names in which a function's own name and its place are looked for.
const WORDS: usize = 8;
const NAMELESS: &str = "(anonymous)";

/// A function by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where it begins, characters from the beginning of the script.
    pub(super) begin: Option<u32>,
}

impl Function {
    /// From what it is called by: a text, or the description of its scope.
    pub(super) fn read(heap: &Heap<'_>, name: Tagged) -> Option<Self> {
        let object = heap.object(name)?;
        if object.kind == heap.layout.kinds.scope {
            return Self::of_scope(heap, object.at);
        }
        let name = text(heap, name, MAX_NAME)?;
        Some(Self { name: called(&[name]), begin: None })
    }

    /// As a method of a class: one that is called by its place already, or by none, stays as it is.
    pub(super) fn of_class(self, class: &Self) -> Self {
        if [&self.name, &class.name].iter().any(|name| name.contains('.') || *name == NAMELESS) {
            return self;
        }
        Self { name: format!("{}.{}", class.name, self.name), ..self }
    }

    /// A scope is described by a head, its local names and a word for each of them, the function's name and a number beside it, a
    /// name that was guessed, and (where not in the head) where it begins and ends.
    fn of_scope(heap: &Heap<'_>, at: u64) -> Option<Self> {
        let layout = heap.layout;
        let words = |from: usize, count| heap.fields(at.checked_add(8 + from as u64 * 8)?, count);
        let head = words(0, layout.scope_head)?;
        let locals = usize::try_from(head.get(layout.scope_locals)?.number()?).ok()?;
        let skipped = match locals {
            0..=MAX_LOCALS => 2 * locals,
            _ if locals <= MOST_LOCALS => locals + 1,
            _ => return None,
        };
        let rest = words(layout.scope_head + skipped, WORDS)?;
        let place = |word: &Tagged| word.number().and_then(|number| u32::try_from(number).ok());
        let mut begin = if layout.scope_begins_in_head { head.get(3).and_then(place) } else { None };
        let mut names = Vec::new();
        let mut nth = 0;
        while let Some(word) = rest.get(nth) {
            nth += 1;
            let next = rest.get(nth);
            if let (Some(from), Some(to)) = (place(word), next.and_then(place))
                && from <= to
                && !layout.scope_begins_in_head
            {
                begin = Some(from);
                break;
            }
            let Some(object) = heap.object(*word) else { continue };
            if object.kind == layout.kinds.scope {
                // the scope around it: there is no more of its own
                break;
            }
            if let Some(name) = text(heap, *word, MAX_NAME) {
                names.push(name);
                // the number beside it: two are a place
                let numbers = rest.iter().skip(nth).take_while(|word| word.number().is_some()).count();
                nth += numbers % 2;
            }
        }
        Some(Self { name: called(&names), begin })
    }
}

/// By the name that it has, else by the one that was guessed.
fn called(names: &[String]) -> String {
    names.iter().take(2).find(|name| !name.is_empty()).map_or_else(|| NAMELESS.to_owned(), |name| clean(name))
}
