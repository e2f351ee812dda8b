//! Names as people write them.

use std::borrow::Cow;

use crate::modules::Modules;
use crate::os;

/// Longer names are told without what their templates are made with.
const READABLE: usize = 120;
/// What the name of an operator begins with: angle brackets may be part of it.
const OPERATOR: &str = "operator";

/// The C++ type that a `typeinfo` names, as in source: `shop::Order` for `N4shop5OrderE`. `None` for what is no such name; on
/// systems other than Linux always.
#[must_use]
pub fn cpp_type(name: &str) -> Option<String> {
    os::cpp_type(name)
}

/// Functions of JavaScript have names in stacks of a process that maps this: V8 is part of it, and says how its memory is read. On
/// systems other than Linux always false.
#[must_use]
pub fn has_javascript(pid: u32, modules: &Modules) -> bool {
    os::has_javascript(pid, modules)
}

/// A function's name as people read it: of a long one of C++ or Rust, `<...>` stands for what its templates are made with, the
/// innermost first. What cannot be understood is as it was.
#[must_use]
pub fn brief(name: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(name);
    for depth in (0..3).rev() {
        if text.chars().count() <= READABLE {
            break;
        }
        match without_arguments(&text, depth) {
            Some(shorter) => text = Cow::Owned(shorter),
            None => return Cow::Borrowed(name),
        }
    }
    text
}

/// Without what lies within more angle brackets than `depth`. `None`: they do not match.
fn without_arguments(name: &str, depth: usize) -> Option<String> {
    let (mut text, mut open) = (String::new(), 0_usize);
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        let is_arrow = rest.starts_with("->");
        let width = match rest.strip_prefix(OPERATOR) {
            // an operator's own brackets
            Some(behind) => {
                OPERATOR.len() + behind.len() - behind.trim_start_matches(['<', '>', '=', '-']).len()
            }
            None if is_arrow => "->".len(),
            None => next.len_utf8(),
        };
        let (token, behind) = rest.split_at_checked(width)?;
        rest = behind;
        match token {
            "<" => {
                open += 1;
                if open == depth + 1 {
                    text.push_str("<...>");
                } else if open <= depth {
                    text.push('<');
                }
            }
            ">" => {
                if open <= depth {
                    text.push('>');
                }
                open = open.checked_sub(1)?;
            }
            _ if open <= depth => text.push_str(token),
            _ => {}
        }
    }
    (open == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what is short stays whole; of what is long as much of the templates goes as need be; brackets that belong to an
    /// operator or an arrow are none of a template; what does not match stays as it is, of any length.
    #[test]
    fn brief_names() {
        let short = "std::vector<int, std::allocator<int> >::push_back(int const&)";
        assert_eq!(brief(short), short);
        let map = "std::map<std::string, std::vector<shop::Order, std::allocator<shop::Order> >, std::less<std::string> >::insert(std::string const&)";
        assert_eq!(
            brief(map),
            "std::map<std::string, std::vector<...>, std::less<...> >::insert(std::string const&)"
        );
        let deep = format!("f<a<b<{}>>>(int)", "c".repeat(130));
        assert_eq!(brief(&deep), "f<a<b<...>>>(int)");
        let wide = format!("shop::put<{}>(int)", "std::pair<int, int>, ".repeat(9));
        assert_eq!(brief(&wide), "shop::put<...>(int)");
        for operator in ["operator<<", "operator<=>", "operator->"] {
            let long = format!("shop::Basket<{}>::{operator}(shop::Order)", "x".repeat(130));
            assert_eq!(brief(&long), format!("shop::Basket<...>::{operator}(shop::Order)"));
        }
        let returned = format!("call<{}>(f)->int", "x".repeat(130));
        assert_eq!(brief(&returned), "call<...>(f)->int");
        for odd in [format!("a<{}", "x".repeat(130)), format!("a>{}", "x".repeat(130))] {
            assert_eq!(brief(&odd), odd);
        }
    }
}
