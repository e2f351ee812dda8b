//! By the BPF program.

use std::path::PathBuf;

use mlh_bpf::python::PythonLayout;
use mlh_bpf::watch::{self, Options};

use super::{Sink, Watcher};

pub(super) fn open(btf_path: Option<PathBuf>, pid: u32, sink: Sink) -> Result<Box<dyn Watcher>, String> {
    let opened = watch::Watcher::open(&Options { btf_path, pid }, sink);
    Ok(Box::new(KernelWatcher(opened.map_err(|error| error.to_string())?)))
}

struct KernelWatcher(watch::Watcher);

impl Watcher for KernelWatcher {
    fn watch(&mut self, number: u64, address: u64, writes: u32) -> Result<u32, String> {
        self.0.watch(number, address, writes).map_err(|error| error.to_string())
    }

    fn watch_once(&mut self, number: u64, address: u64, thread: u32) -> Result<(), String> {
        self.0.watch_once(number, address, thread).map_err(|error| error.to_string())
    }

    fn cover(&mut self) -> Result<(), Vec<u64>> {
        self.0.cover().map_err(|(numbers, error)| {
            tracing::debug!(%error, "addresses are not watched any more");
            numbers
        })
    }

    fn release(&mut self, number: u64) {
        self.0.release(number);
    }

    fn walk(&mut self, by_kernel: bool) -> Result<(), String> {
        self.0.walk(by_kernel).map_err(|error| error.to_string())
    }

    fn set_python(&mut self, layout: Option<&PythonLayout>) -> Result<(), String> {
        self.0.set_python(layout).map_err(|error| error.to_string())
    }

    fn kernel_bytes(&self) -> u64 {
        self.0.kernel_bytes()
    }
}
