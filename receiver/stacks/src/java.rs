//! Java: whether stacks name its methods by what the JVM says of itself.

use crate::modules::Modules;
use crate::os;

/// The JVM that a process maps says where it keeps its methods, as HotSpot does: stacks name them, also those that are interpreted or
/// inlined. False where none is mapped, or one that has only begun; on systems other than Linux always.
#[must_use]
pub fn names_methods(pid: u32, modules: &Modules) -> bool {
    os::names_methods(pid, modules)
}
