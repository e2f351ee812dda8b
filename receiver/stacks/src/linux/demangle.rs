//! Names as people write them. Whoever makes a binary chooses its names: they are bounded, and made fit for a terminal.

use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, Symbol};

/// Longer names are cut; those of C++ templates can be.
const MAX_NAME: usize = 1024;
/// Longer ones are shown as they are.
const MAX_MANGLED: usize = 8 * 1024;

/// The name in source of a C++ or Rust function, any other as it is. Return types and hashes are left out.
pub(crate) fn demangle(name: &str) -> String {
    let mut text = Bounded(String::new());
    let short = name.len() <= MAX_MANGLED;
    let rust = rustc_demangle::try_demangle(name).ok().filter(|_| short);
    let done = if let Some(rust) = rust {
        write!(text, "{rust:#}").is_ok()
    } else if let Some(symbol) = Symbol::new(name).ok().filter(|_| short && name.contains("_Z")) {
        symbol.structured_demangle(&mut text, &DemangleOptions::new().no_return_type()).is_ok()
    } else {
        false
    };
    if done || text.is_full() { text.finish() } else { clean(name) }
}

/// A name that is not mangled: a path, a name from a file that a runtime writes.
pub(crate) fn clean(name: &str) -> String {
    let mut text = Bounded(String::new());
    text.push(name);
    text.finish()
}

struct Bounded(String);

impl Bounded {
    fn is_full(&self) -> bool {
        self.0.len() > MAX_NAME
    }

    fn push(&mut self, more: &str) {
        for character in more.chars() {
            if self.is_full() {
                return;
            }
            self.0.push(if character.is_control() { '\u{fffd}' } else { character });
        }
    }

    fn finish(self) -> String {
        let Self(mut text) = self;
        if text.len() > MAX_NAME {
            text.truncate((0..=MAX_NAME).rfind(|at| text.is_char_boundary(*at)).unwrap_or_default());
            text.push('…');
        }
        text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.push(more);
        if self.is_full() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: C++ and both of Rust's schemes are shown as in source, without return types and hashes; what only looks
    /// mangled stays as it is.
    #[test]
    fn schemes() {
        let cases = [
            (
                "_ZNSt6vectorIiSaIiEE9push_backERKi",
                "std::vector<int, std::allocator<int> >::push_back(int const&)",
            ),
            ("_Z4makeIiET_S0_", "make<int>(int)"),
            ("_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE", "core::fmt::Formatter::write_str"),
            ("_RNvNtCs1234_7mycrate5cache8remember", "mycrate::cache::remember"),
            ("_Znwm", "operator new(unsigned long)"),
            ("_ZNotAName", "_ZNotAName"),
            ("main", "main"),
        ];
        for (mangled, plain) in cases {
            assert_eq!(demangle(mangled), plain);
        }
    }

    /// Guarantees: names are bounded, also those that unfold to more than they are, cut between characters, and hold
    /// nothing that a terminal would act upon.
    #[test]
    fn hostile_names() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        for long in ["x".repeat(1 << 20), "ü".repeat(2000), format!("_ZN{}E", "4name".repeat(100_000))] {
            assert!(demangle(&long).len() <= MAX_NAME + '…'.len_utf8());
        }
        // Each parameter names the one before twice.
        let pairs: String = (0..40)
            .map(|at| format!("St4pairI{0}{0}E", if at == 0 { "i".into() } else { format!("S{at}_") }))
            .collect();
        let unfolding = format!("_Z1f{pairs}");
        assert!(demangle(&unfolding).len() <= MAX_NAME + '…'.len_utf8());
    }
}
