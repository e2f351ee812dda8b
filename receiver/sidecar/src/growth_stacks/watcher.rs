//! The kernel's side of watching addresses, as much of it as is used here.

use std::path::PathBuf;

use mlh_bpf::python::PythonLayout;
use mlh_bpf::watch::Heard;

#[cfg(all(target_os = "linux", feature = "ebpf"))]
mod kernel;

#[cfg(not(all(target_os = "linux", feature = "ebpf")))]
mod kernel {
    use super::{PathBuf, Sink, Watcher};

    pub(super) fn open(_: Option<PathBuf>, _: u32, _: Sink) -> Result<Box<dyn Watcher>, String> {
        Err("it needs Linux and a build with eBPF (feature `ebpf`)".to_owned())
    }
}

/// Where what the kernel tells is handed to, on a thread of its own.
pub(super) type Sink = Box<dyn FnMut(Heard) + Send>;

/// Watches addresses of a process until it is dropped; then the sink is, once all that was told is handed over. Errors are sentences.
pub(super) trait Watcher: Send {
    /// Watches an address under a number, for so many writes in all; gives how many each thread may tell.
    fn watch(&mut self, number: u64, address: u64, writes: u32) -> Result<u32, String>;
    /// Watches an address under a number, for the next write of this thread.
    fn watch_once(&mut self, number: u64, address: u64, thread: u32) -> Result<(), String>;
    /// Watches on the threads that have come as well. Which could not be, and are watched no more.
    fn cover(&mut self) -> Result<(), Vec<u64>>;
    /// Watches it no more.
    fn release(&mut self, number: u64);
    /// Whether the kernel follows the frame pointers of its stacks.
    fn walk(&mut self, by_kernel: bool) -> Result<(), String>;
    /// Tells what its Python interpreter runs; `None`: it has none that can be looked at.
    fn set_python(&mut self, layout: Option<&PythonLayout>) -> Result<(), String>;
    /// Kernel memory, bytes.
    fn kernel_bytes(&self) -> u64;
}

/// Loads the program. Nothing is watched yet.
pub(super) fn open(btf_path: Option<PathBuf>, pid: u32, sink: Sink) -> Result<Box<dyn Watcher>, String> {
    kernel::open(btf_path, pid, sink)
}
