//! How the sidecar ships in containers: the image of `docker/Dockerfile`, and the files beside it.
//!
//! No registry is needed. The image under test is the Dockerfile's own runtime stage, over a base of this machine's
//! programs, and with the program under test where the build stage would have put the one it compiles.

#![forbid(unsafe_code)]

mod compose;
mod dockerfile;
mod engine;
mod health;
mod hunting;
