//! The rooms of the sidecar.

#![forbid(unsafe_code)]
