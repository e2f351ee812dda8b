//! Java: what a JVM says of itself, and whether stacks name its methods by it.

use crate::modules::Modules;
use crate::os;

/// The JVM that a process maps says where it keeps its methods, as HotSpot does: stacks name them, also those that are interpreted or
/// inlined. False where none is mapped, or one that has only begun; on systems other than Linux always.
#[must_use]
pub fn names_methods(pid: u32, modules: &Modules) -> bool {
    os::names_methods(pid, modules)
}

/// Where a JVM keeps what, as `HotSpot` publishes it for tools that look at it from outside.
#[derive(Debug)]
pub struct Published(os::Tables);

impl Published {
    /// What it says of these classes, which are the JVM's own. `None`: none is mapped, or it has only begun; on systems other than Linux
    /// always.
    #[must_use]
    pub fn read(pid: u32, modules: &Modules, classes: &[&str]) -> Option<Self> {
        os::tables(pid, modules, classes).map(Self)
    }

    /// Where in an object of a class a field is, bytes.
    #[must_use]
    pub fn offset(&self, class: &str, name: &str) -> Option<u64> {
        self.0.offset(class, name)
    }

    /// Where a static variable is in the process.
    #[must_use]
    pub fn address(&self, class: &str, name: &str) -> Option<u64> {
        self.0.address(class, name)
    }

    /// Bytes of an object of a class.
    #[must_use]
    pub fn size(&self, class: &str) -> Option<u64> {
        self.0.size(class)
    }
}
