//! The kernel's side, as much of it as is used here.

use mlh_bpf::faults::{Heard, Options};
use mlh_bpf::python::PythonLayout;

#[cfg(all(target_os = "linux", feature = "ebpf"))]
mod kernel;

#[cfg(not(all(target_os = "linux", feature = "ebpf")))]
mod kernel {
    use super::{Options, Sampler, Sink};

    pub(super) fn open(_: &Options, _: Sink) -> Result<Box<dyn Sampler>, String> {
        Err("sampling page faults needs Linux and a build with eBPF (feature `ebpf`)".to_owned())
    }
}

/// Where what the kernel tells is handed to, on a thread of its own.
pub(super) type Sink = Box<dyn FnMut(Heard) + Send>;

/// Samples the page faults of some processes until it is dropped; then the sink is, once all that was told is handed over.
/// Errors are sentences.
pub(super) trait Sampler: Send {
    /// Of a further process.
    fn follow(&mut self, pid: u32) -> Result<(), String>;
    /// Of this one no more.
    fn release(&mut self, pid: u32);
    /// Whether the kernel follows the frame pointers of its stacks.
    fn walk(&mut self, pid: u32, by_kernel: bool) -> Result<(), String>;
    /// Tells what its Python interpreter runs; `None`: it has none that can be looked at.
    fn set_python(&mut self, pid: u32, layout: Option<&PythonLayout>) -> Result<(), String>;
    /// Kernel memory, bytes.
    fn kernel_bytes(&self) -> u64;
}

/// Loads the program, and begins.
pub(super) fn open(options: &Options, sink: Sink) -> Result<Box<dyn Sampler>, String> {
    kernel::open(options, sink)
}
