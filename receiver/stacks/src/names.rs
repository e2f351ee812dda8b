//! Names as people write them.

use crate::os;

/// The C++ type that a `typeinfo` names, as in source: `shop::Order` for `N4shop5OrderE`. `None` for what is no such name; on
/// systems other than Linux always.
#[must_use]
pub fn cpp_type(name: &str) -> Option<String> {
    os::cpp_type(name)
}
