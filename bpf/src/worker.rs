//! The thread that sleeps until a ring holds something, and hands it on.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::SweepError;
use crate::events::Told;
use crate::object::io_error;

/// Records that are read of one ring before it is the next one's turn.
const SHARE: usize = 4096;

/// A ring, and the count of what did not fit into it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) ring: MapHandle,
    pub(crate) lost: MapHandle,
}

/// The running thread. Dropping it empties the rings once more and ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    quit: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// As [`start`](Self::start): hands over what `decode` makes of each record, and what `lost` makes of a number of lost ones.
    pub(crate) fn decoding<T>(
        sources: Vec<Source>,
        tick: PollTimeout,
        mut decode: impl FnMut(&[u8]) -> Option<T> + Send + 'static,
        lost: impl Fn(u64) -> T + Send + 'static,
        mut sink: impl FnMut(T) + Send + 'static,
    ) -> Result<Option<Self>, SweepError> {
        Self::start(sources, tick, move |told| {
            let heard = match told {
                Told::Record(bytes) => decode(bytes),
                Told::Lost(count) => Some(lost(count)),
            };
            if let Some(heard) = heard {
                sink(heard);
            }
        })
    }

    /// `None` where there is nothing to wait for.
    ///
    /// `tick`: how often it comes by though nobody wakes it; [`PollTimeout::NONE`]: never.
    pub(crate) fn start(
        sources: Vec<Source>,
        tick: PollTimeout,
        sink: impl FnMut(Told<'_>) + Send + 'static,
    ) -> Result<Option<Self>, SweepError> {
        if sources.is_empty() {
            return Ok(None);
        }
        let failed = |error: &dyn std::fmt::Display| io_error("listening to the kernel", error);
        let (reader, quit) = io::pipe().map_err(|error| failed(&error))?;
        // each ring has a callback of its own, and all run on the one thread
        let sink = Arc::new(Mutex::new(sink));
        let reading = |source: &Source| {
            let sink = Arc::clone(&sink);
            let tell = move |bytes: &[u8]| {
                (sink.lock().unwrap_or_else(PoisonError::into_inner))(Told::Record(bytes));
                0
            };
            let mut ring = RingBufferBuilder::new();
            ring.add(&source.ring, tell)?;
            ring.build()
        };
        let rings: Result<Vec<_>, _> = sources.iter().map(reading).collect();
        let rings = rings.map_err(|error| failed(&error))?;
        let lost = move |count| (sink.lock().unwrap_or_else(PoisonError::into_inner))(Told::Lost(count));
        let thread = std::thread::Builder::new()
            .name("mlh-events".to_owned())
            .spawn(move || run(&sources, &rings, &reader, tick, lost))
            .map_err(|error| failed(&error))?;
        Ok(Some(Self { quit: Some(quit), thread: Some(thread) }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.quit.take());
        if let Some(thread) = self.thread.take() {
            // It panics only if the sink does, which has been reported by then.
            let _ = thread.join();
        }
    }
}

fn run(
    sources: &[Source],
    rings: &[RingBuffer<'_>],
    quit: &PipeReader,
    tick: PollTimeout,
    mut lost: impl FnMut(u64),
) {
    let mut known = vec![0; sources.len()];
    loop {
        let quitting = wait(sources, quit, tick);
        // one that is filled as fast as it is read does not keep the others waiting
        while rings.iter().fold(false, |more, ring| more | read(ring)) {
            tell_losses(sources, &mut known, &mut lost);
        }
        // after the rings: a loss means that one was full, and so that it has just been emptied
        tell_losses(sources, &mut known, &mut lost);
        if quitting {
            return;
        }
    }
}

/// Whether there may be more. A failure could only come from a callback, and these do not fail.
fn read(ring: &RingBuffer<'_>) -> bool {
    usize::try_from(ring.consume_raw_n(SHARE)).is_ok_and(|count| count >= SHARE)
}

fn tell_losses(sources: &[Source], known: &mut [u64], lost: &mut impl FnMut(u64)) {
    for (source, known) in sources.iter().zip(known) {
        let now = count(&source.lost).unwrap_or(*known);
        if now > *known {
            lost(now - *known);
            *known = now;
        }
    }
}

/// Until a ring holds something, the tick is over, or the worker is to quit: then true.
fn wait(sources: &[Source], quit: &PipeReader, tick: PollTimeout) -> bool {
    let rings = sources.iter().map(|source| source.ring.as_fd());
    let watched = std::iter::once(quit.as_fd()).chain(rings);
    let mut descriptors: Vec<PollFd<'_>> = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut descriptors, tick) {
        Ok(_) | Err(Errno::EINTR) => {}
        // for want of memory: the rings hold on meanwhile
        Err(_) => std::thread::sleep(Duration::from_secs(1)),
    }
    descriptors.first().and_then(PollFd::any).unwrap_or(false)
}

fn count(lost: &MapHandle) -> Option<u64> {
    let value = lost.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok().flatten()?;
    Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?))
}
