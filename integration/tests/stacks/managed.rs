//! Programs that another program runs: CPython in the versions that are here, Node and the JVM in the ways that they can run a function.

use crate::row::{Goal, Row, rows};

const GARBAGE: Goal =
    Goal::Least(0.65, "garbage is there until it is collected, and so are the collector's own tables");
const V8_HEAP: Goal = Goal::Unseen("V8 allocates within memory of its own");
const JVM_HEAP: Goal = Goal::Unseen("the JVM allocates within memory of its own");

/// A stack is read some time after it was copied.
const MOVED: Goal = Goal::Least(0.65, "what the collector moves before it is read has no name");

/// They change where the code lies.
const MAP: [&str; 2] = ["--perf-basic-prof", "--interpreted-frames-native-stack"];
const INTERPRETED: [&str; 2] = ["--no-opt", "--no-sparkplug"];
/// Headers of objects that are kept share pages with those of objects that are not.
const SHARED: Goal =
    Goal::Least(0.97, "small objects that are kept lie in pages that others have touched first");

/// Neither compiler, the quick one alone, and what else helps to name methods.
const INTERPRETED_ONLY: [&str; 2] = ["-XX:+UseSerialGC", "-Xint"];
const QUICKLY: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
const POINTERS: [&str; 2] = ["-XX:+UseSerialGC", "-XX:+PreserveFramePointer"];

rows! {
    python_3_8 => Row::python("CPython 3.8", "3.8").growth(SHARED),
    python_3_9 => Row::python("CPython 3.9", "3.9").growth(SHARED),
    python_3_10 => Row::python("CPython 3.10", "3.10").growth(SHARED),
    python_3_11 => Row::python("CPython 3.11", "3.11").growth(SHARED),
    python_3_12 => Row::python("CPython 3.12", "3.12").growth(SHARED),
    python_3_13 => Row::python("CPython 3.13", "3.13").growth(SHARED),
    python_of_the_system => Row::python("CPython of the system, stripped", "/usr/bin/python3").growth(SHARED),
    python_container => Row::python("CPython 3.12", "3.12").in_container().growth(SHARED),

    node_buffers => Row::node(&[], &[]).named(", buffers").allocations(MOVED).growth(GARBAGE),
    node_objects => Row::node(&[], &["objects"]).named(", objects").allocations(V8_HEAP).growth(GARBAGE),
    node_interpreted => Row::node(&INTERPRETED, &[]).named(", buffers").allocations(MOVED).growth(GARBAGE),
    node_map => Row::node(&MAP, &[]).named(", buffers").allocations(MOVED).growth(GARBAGE),

    java_buffers => Row::java(&["-XX:+UseSerialGC"], &[], false).named(", buffers").growth(GARBAGE),
    java_interpreted => Row::java(&INTERPRETED_ONLY, &[], false).named(", buffers").growth(GARBAGE),
    java_quickly_compiled => Row::java(&QUICKLY, &[], false).named(", buffers").growth(GARBAGE),
    java_with_a_map => Row::java(&POINTERS, &[], true).named(", perf map, buffers").growth(GARBAGE),
    // large arrays lie in regions of their own, and are never moved
    java_objects => Row::java(&["-XX:+UseG1GC"], &["objects"], false).named(", objects").allocations(JVM_HEAP).growth(GARBAGE),
}
