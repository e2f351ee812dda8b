//! Names as people write them. Whoever makes a binary chooses its names: they are bounded, and made fit for a terminal.

use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, Symbol};

/// Longer names are cut; those of C++ templates can be.
const MAX_NAME: usize = 1024;
/// Longer ones are shown as they are.
const MAX_MANGLED: usize = 8 * 1024;

/// Of a name that cannot be read to its end so many beginnings are tried.
const MAX_ENDS: usize = 64;

/// What the symbol of a type's name begins with.
const TYPE_NAME: &str = "_ZTS";

/// The name in source of a C++ or Rust function, any other as it is. Return types and hashes are left out.
pub(crate) fn demangle(name: &str) -> String {
    let mut text = Bounded(String::new());
    let short = name.len() <= MAX_MANGLED;
    let rust = rustc_demangle::try_demangle(name).ok().filter(|_| short);
    let done = if let Some(rust) = rust {
        write!(text, "{rust:#}").is_ok()
    } else if let Some(symbol) = Symbol::new(name).ok().filter(|_| short && name.contains("_Z")) {
        symbol.structured_demangle(&mut text, &DemangleOptions::new().no_return_type()).is_ok()
    } else if let Some(alone) = template_alone(name).filter(|_| short) {
        text.push(&alone);
        true
    } else {
        false
    };
    if done || text.is_full() { text.finish() } else { clean(name) }
}

/// Of a function template whose type says too much to be understood (`enable_if` of an expression) the name with its arguments: what
/// stands first and parses by itself.
fn template_alone(name: &str) -> Option<String> {
    let start = name.strip_prefix("_Z")?;
    let ends = start.match_indices('E').map(|(at, _)| at + "_Z".len() + 1).take(MAX_ENDS);
    ends.filter_map(|end| name.get(..end)).find_map(|head| {
        // a template's function has a type that it returns, and parameters: none of them
        let symbol = Symbol::new(format!("{head}vv")).ok()?;
        let mut text = Bounded(String::new());
        symbol.structured_demangle(&mut text, &DemangleOptions::new().no_params().no_return_type()).ok()?;
        Some(format!("{}(...)", text.0))
    })
}

/// See [`cpp_type`](crate::names::cpp_type).
pub(crate) fn cpp_type(name: &str) -> Option<String> {
    // a type of one file alone is marked so that its name is compared by address
    let name = name.strip_prefix('*').unwrap_or(name);
    let is_class = name.starts_with(|first: char| first.is_ascii_digit() || "NSZ".contains(first));
    let whole = name.len() <= MAX_MANGLED && Symbol::new(format!("{TYPE_NAME}{name}")).is_ok();
    if !is_class || !whole {
        return None;
    }
    demangle(&format!("{TYPE_NAME}{name}")).strip_prefix("typeinfo name for ").map(str::to_owned)
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
            (
                "_ZN2v84base17PrintCheckOperandIPKaEENSt9enable_ifIXaaaantsrSt11is_functionINSt14remove_pointerIT_E4typeEE5valuentsr\
                 St7is_enumIS7_E5valuesrNS0_19has_output_operatorIS7_NS0_18CheckMessageStreamEvEE5valueESsE4typeES7_",
                "v8::base::PrintCheckOperand<signed char const*>(...)",
            ),
            (
                "_ZSt9__fill_a1IPccEN9__gnu_cxx11__enable_ifIXsr9__is_byteIT0_EE7__valueEvE6__typeES2_S2_RKS1_X",
                "std::__fill_a1<char*, char>(...)",
            ),
            ("_ZNotAName", "_ZNotAName"),
            ("main", "main"),
        ];
        for (mangled, plain) in cases {
            assert_eq!(demangle(mangled), plain);
        }
    }

    /// Guarantees: classes are named from what their type information holds, whatever their scope; a text that only begins like such
    /// a name, or names no class, gives none.
    #[test]
    fn types() {
        let cases = [
            ("N4shop5OrderE", Some("shop::Order")),
            ("5Order", Some("Order")),
            ("*N12_GLOBAL__N_15OrderE", Some("(anonymous namespace)::Order")),
            ("St6vectorIiSaIiEE", Some("std::vector<int, std::allocator<int> >")),
            ("Z4mainE5Order", Some("main::Order")),
            ("i", None),
            ("PKc", None),
            ("5Order and more", None),
            ("N4shop", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(cpp_type(name).as_deref(), expected, "{name}");
        }
        assert_eq!(cpp_type(&format!("N{}E", "4name".repeat(100_000))), None);
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
