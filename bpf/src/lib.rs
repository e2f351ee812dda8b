//! The kernel's side and its ABI.
