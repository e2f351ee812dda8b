//! By the BPF program.

use mlh_bpf::faults::{self, Options};
use mlh_bpf::python::PythonLayout;

use super::{Sampler, Sink};
use crate::investigate::allow_open_files;

pub(super) fn open(options: &Options, sink: Sink) -> Result<Box<dyn Sampler>, String> {
    // each thread takes two
    allow_open_files();
    let sampler = faults::Sampler::open(options, sink).map_err(|error| error.to_string())?;
    Ok(Box::new(KernelSampler(sampler)))
}

struct KernelSampler(faults::Sampler);

impl Sampler for KernelSampler {
    fn follow(&mut self, pid: u32) -> Result<(), String> {
        self.0.follow(pid).map_err(|error| error.to_string())
    }

    fn release(&mut self, pid: u32) {
        self.0.release(pid);
    }

    fn walk(&mut self, pid: u32, by_kernel: bool) -> Result<(), String> {
        self.0.walk(pid, by_kernel).map_err(|error| error.to_string())
    }

    fn set_python(&mut self, pid: u32, layout: Option<&PythonLayout>) -> Result<(), String> {
        self.0.set_python(pid, layout).map_err(|error| error.to_string())
    }

    fn kernel_bytes(&self) -> u64 {
        self.0.kernel_bytes()
    }
}
