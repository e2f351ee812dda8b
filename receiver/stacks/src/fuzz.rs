//! What reads foreign bytes and is not reached through a file that a process maps: for fuzzing alone.

use crate::os::fuzz as here;

/// `/proc/PID/maps`.
pub fn maps(text: &[u8]) {
    here::maps(text);
}

/// A perf map, which is asked for the code at an address.
pub fn perf_map(text: &[u8], address: u64) {
    here::perf_map(text, address);
}

/// Go's table of functions, which is asked for the code at an address.
pub fn pclntab(table: &[u8], address: u64) {
    here::pclntab(table, address);
}

/// The memory of a JVM, from address 0 on, whose variables are behind each other from address 8 on, with code at an address, and a
/// frame pointer.
pub fn hotspot(memory: &[u8], code: u64, frame: u64) {
    here::hotspot(memory, code, frame);
}

/// The memory of a Python interpreter, from address 0 on, with frames whose code objects are at these addresses.
pub fn python(memory: &[u8], code: [u64; 2], instruction: u64) {
    here::python(memory, code, instruction);
}

/// The memory of a process with V8 in it, from address 4096 on, which executes `inside` with its frame at `frame`.
pub fn v8(memory: &[u8], inside: u64, frame: u64) {
    here::v8(memory, inside, frame);
}
