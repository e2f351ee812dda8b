//! What the kernel says of a process, in part with names that the process chooses: `/proc/PID/maps` and `cgroup`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlh_targets::cgroup::CgroupPaths;

fuzz_target!(|bytes: &[u8]| {
    mlh_stacks::fuzz::maps(bytes);
    let paths = CgroupPaths::parse(&String::from_utf8_lossy(bytes));
    for path in paths.all() {
        drop(mlh_targets::container::id_from_path(path));
        drop(mlh_targets::container::pod_uid_from_path(path));
    }
});
