//! Debug information: the functions that were inlined, and lines of the source.
//!
//! It may be larger than memory, so it is never held: an index of its units is, and what was read of the units that were
//! asked for last. In reading order: `sections`, `entries`, `units`, `lines`, `unit`, `naming`, `split`.

mod sections;

mod entries;

mod units;

mod lines;

mod unit;

mod naming;

mod split;

use std::collections::VecDeque;
use std::sync::Arc;

use super::beside::Beside;
use super::demangle::{clean, demangle};
use super::object::{Means, Object};
use super::pages::Meter;
use entries::{CodeAt, Forms, open_at};
use naming::{Book, name_of};
use sections::load;
use split::Splits;
use unit::Content;
use units::Units;

/// Bytes of what was read of units that are kept, beside the one that is asked for.
const MAX_CONTENTS: usize = 8 * 1024 * 1024;
/// Units that are kept: each may have a file of its own open.
const MAX_OPEN: usize = 48;
/// Bytes that one address may lead to: a second's work or two.
const MAX_WORK: u64 = 512 * 1024 * 1024;
/// Bytes that all addresses of a file may lead to, as often as they do: some minutes' work.
const MAX_LIFE: u64 = 64 * 1024 * 1024 * 1024;

/// A function at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named {
    pub(crate) function: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
}

impl Named {
    /// Bytes that it takes, at least.
    pub(crate) fn size(&self) -> usize {
        let text = |it: &Option<String>| it.as_ref().map_or(0, String::len);
        size_of::<Self>() + text(&self.function) + text(&self.file)
    }
}

/// The debug information of one file.
pub(crate) struct Debug {
    own: Book,
    /// What it has in common with other files.
    other: Option<Book>,
    code: CodeAt,
    splits: Splits,
    /// The unit that was used last comes first.
    contents: VecDeque<(usize, Arc<Content>)>,
    meter: Meter,
    left: u64,
}

impl Debug {
    /// That of `object`, with what it has in common with others in `supplement`, for a program with code at `code`. `None`
    /// if it has none, or there is no room to unpack it.
    pub(crate) fn read(
        object: &Object,
        supplement: Option<&Object>,
        code: Vec<std::ops::Range<u64>>,
        beside: &Beside,
        means: &Means,
    ) -> Option<Self> {
        let (meter, code) = (Meter::default(), CodeAt(code));
        meter.set(MAX_WORK);
        let mut dwarf = load(object, means, &meter)?;
        let units = Units::read(&dwarf, &code);
        let other = supplement.and_then(|object| {
            dwarf.set_sup(load(object, means, &meter)?);
            let dwarf = load(object, means, &meter)?;
            let units = Units::read(&dwarf, &CodeAt::default());
            Some(Book::new(dwarf, units))
        });
        let splits = Splits::new(beside, means, &meter);
        let left = MAX_LIFE - (MAX_WORK - meter.left());
        Some(Self {
            own: Book::new(dwarf, units),
            other,
            code,
            splits,
            contents: VecDeque::new(),
            meter,
            left,
        })
    }

    /// Who is at a virtual address of the file: innermost first, so that all but the last were inlined.
    pub(crate) fn at(&mut self, address: u64) -> Vec<Named> {
        let work = self.left.min(MAX_WORK);
        self.meter.set(work);
        let found = self.look_up(address);
        self.left -= work - self.meter.left();
        found
    }

    fn look_up(&mut self, address: u64) -> Vec<Named> {
        let mut without_function = None;
        for place in self.own.units.around(address) {
            let Some(content) = self.content(place) else { continue };
            let found = content.at(&self.own.dwarf, address);
            if !found.is_empty() {
                return found.iter().map(|place| self.named(&content, place)).collect();
            }
            // Another unit may have the function: what this one has is let go before that is read.
            let line = content.lines.as_ref().and_then(|lines| lines.at(address));
            without_function = without_function.or_else(|| {
                let (file, line) = line?;
                Some(Named { function: None, file: self.file(&content, Some(file)), line })
            });
        }
        without_function.into_iter().collect()
    }

    fn named(&mut self, content: &Content, place: &unit::Place) -> Named {
        let (split, unit) = content.entries();
        let name = name_of(unit, place.entry, split, &mut self.own, self.other.as_mut());
        Named {
            function: name.map(|name| demangle(&name)),
            file: self.file(content, place.file),
            line: place.line,
        }
    }

    fn file(&self, content: &Content, file: Option<u64>) -> Option<String> {
        content.lines.as_ref()?.file(&self.own.dwarf, &content.unit, file?).map(|path| clean(&path))
    }

    fn content(&mut self, place: usize) -> Option<Arc<Content>> {
        if let Some(known) = self.contents.iter().position(|(at, _)| *at == place) {
            let it = self.contents.remove(known)?;
            self.contents.push_front(it);
        } else {
            let dwarf = &self.own.dwarf;
            let opened = open_at(dwarf, place, &mut Forms::default()).ok()?;
            let split = self.splits.of(dwarf, &opened);
            // Before more is read, so that both need not fit.
            self.shrink(MAX_CONTENTS);
            let content = Content::read(&self.own.dwarf, opened, split, &self.code);
            self.contents.push_front((place, Arc::new(content)));
        }
        self.contents.front().map(|(_, content)| Arc::clone(content))
    }

    fn shrink(&mut self, most: usize) {
        let mut held = 0;
        let kept = self.contents.iter().take_while(|(_, content)| {
            held += content.size();
            held <= most
        });
        let kept = kept.count();
        self.contents.truncate(kept.min(MAX_OPEN));
    }

    /// Bytes that it holds, roughly.
    pub(crate) fn size(&self) -> u64 {
        let books = self.own.units.size() + self.other.as_ref().map_or(0, |book| book.units.size());
        let contents = self.contents.iter().map(|(_, content)| content.size()).sum::<usize>();
        (books + contents) as u64
    }
}

#[cfg(test)]
mod tests;
