//! Functions that allocate for their caller, in their mangled names: growing strings and vectors of C++ and of Rust. That they
//! are passed over makes it the caller that an allocation is counted to.

/// What a name begins with, and one of what it also holds.
const BEGINNINGS: [(&[u8], &[&[u8]]); 4] = [
    (b"_ZNSt7__cxx1112basic_stringIcS", &[b"_M_", b"7reserveE", b"9push_backE", b"6resizeE"]),
    (b"_ZNSt6vectorI", &[b"_M_realloc_", b"_M_default_append", b"_M_fill_insert", b"7reserveE"]),
    (b"_ZNSt3__112basic_stringIcN", &[b"__grow_by", b"__init", b"7reserveE", b"9push_backE", b"6appendE"]),
    (b"_ZNSt3__16vectorI", &[b"back_slow_path", b"8__appendE", b"7reserveE"]),
];

/// Rust's, in the mangling of old and in the new one.
const RUST_BEGINNINGS: [&[u8]; 2] = [b"_ZN5alloc7raw_vec", b"_R"];
const RUST: [&[u8]; 7] = [
    b"finish_grow",
    b"grow_one",
    b"grow_amortized",
    b"grow_exact",
    b"do_reserve_and_handle",
    b"reserve_for_push",
    b"allocate_in",
];
/// Between a program and its allocator.
const RUST_SHIMS: [&[u8]; 4] = [b"__rust_alloc", b"__rust_realloc", b"__rdl_alloc", b"__rdl_realloc"];

/// Whether the function of this name only passes allocations on.
pub(super) fn passes_on(name: &[u8]) -> bool {
    let holds = |part: &&[u8]| name.windows(part.len()).any(|window| window == *part);
    if let Some((_, parts)) = BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning)) {
        return parts.iter().any(holds);
    }
    if RUST_SHIMS.iter().any(|shim| name.starts_with(shim)) {
        return true;
    }
    if !RUST_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)) {
        return false;
    }
    // in the new mangling the shims lie in a crate of their own
    (holds(&&b"5alloc7raw_vec"[..]) && RUST.iter().any(holds))
        || (holds(&&b"7___rustc"[..]) && RUST_SHIMS.iter().any(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what grows strings and vectors is known by its name, in every mangling; what calls a program's own code,
    /// or only resembles it, is not.
    #[test]
    fn by_name() {
        for name in [
            "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_createERmm",
            "_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJiEEEvN9__gnu_cxx17__normal_iteratorIPiS1_EEDpOT_",
            "_ZN5alloc7raw_vec20RawVecInner$LT$A$GT$11finish_grow17habc9c6a887144742E.llvm.9500118691607569097",
            "_RNvMs3_NtCslNYArtu3iFV_5alloc7raw_vecINtB5_6RawVechE8grow_oneB7_",
            "_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc",
            "__rust_realloc",
        ] {
            assert!(passes_on(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "malloc",
            "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE4findEcm",
            "_ZNSt17_Function_handlerIFvvEZ4mainEUlvE_E9_M_invokeERKSt9_Any_data",
            "_RNvNtCslNYArtu3iFV_5alloc7raw_vec17capacity_overflow",
            "_RNvCs1_4shop12grow_one_day",
        ] {
            assert!(!passes_on(name.as_bytes()), "{name}");
        }
    }
}
