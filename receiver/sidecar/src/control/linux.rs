//! The Unix socket: where it is put, who may use it, and the client's side.

mod client;
mod place;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Answer, request};
pub(super) use server::Server;
