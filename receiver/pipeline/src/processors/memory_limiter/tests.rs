use std::sync::Mutex;

use super::*;
use crate::component::Status;
use crate::testing::{Sink, complaints, configure_processor, context, logs};

fn config(limit_mib: u64, spike_limit_mib: u64) -> Config {
    Config { check_interval: Duration::from_secs(1), limit_mib, spike_limit_mib }
}

fn read(yaml: &str) -> Config {
    Settings::of_text(yaml, Config::read).unwrap().0
}

/// Guarantees: the limiter's defaults, and a spike of a fifth of whatever limit is given.
#[test]
fn defaults() {
    let default = Config { check_interval: Duration::from_secs(1), limit_mib: 128, spike_limit_mib: 25 };
    assert_eq!(read(""), default);
    assert_eq!(read("limit_mib: 500"), Config { limit_mib: 500, spike_limit_mib: 100, ..default });
    let all = read("{check_interval: 5s, limit_mib: 100, spike_limit_mib: 30}");
    assert_eq!(all, Config { check_interval: Duration::from_secs(5), ..config(100, 30) });
    assert_eq!(all.soft_limit(), 70 * MIB);
}

/// Guarantees: values that make no sense are refused with what is allowed.
#[test]
fn bad_settings() {
    for (yaml, expected) in [
        ("check_interval: 0s", "check_interval"),
        ("limit_mib: 0", "at least 1"),
        ("{limit_mib: 10, spike_limit_mib: 10}", "less than limit_mib (10)"),
        ("limit_percentage: 50", "unknown key"),
    ] {
        let complaint = complaints(configure_processor(&Factory, yaml));
        assert!(complaint.contains(expected), "{yaml}: {complaint}");
    }
}

/// Guarantees: data is refused, retryably, exactly while the memory in use is at or above the soft limit; the
/// host hears of both changes and of nothing else.
#[tokio::test(start_paused = true)]
async fn refuses_and_recovers() {
    let (context, _, board) = context("memory_limiter");
    let sink = Arc::new(Sink::default());
    let used = Arc::new(Mutex::new(99 * MIB));
    let reading = Arc::clone(&used);
    let mut built =
        config(128, 28).build_with(&context, sink.clone(), Arc::new(move || Ok(*reading.lock().unwrap())));
    built.component.start().await.unwrap();

    for (mib, refused) in [(99, false), (100, true), (300, true), (100, true), (99, false)] {
        *used.lock().unwrap() = mib * MIB;
        tokio::time::sleep(Duration::from_millis(1001)).await;
        let outcome = built.consumer.consume(logs(1)).await;
        assert_eq!(matches!(outcome, Err(Refused::Retryable(_))), refused, "{mib} MiB: {outcome:?}");
    }
    assert_eq!(sink.sizes(), [1, 1]);
    assert_eq!(board.statuses_reported(), [Status::RecoverableError, Status::Ok]);
}

/// Guarantees: the memory is read at most once in a `check_interval`, and not at all while nothing comes.
#[tokio::test(start_paused = true)]
async fn reads_when_asked() {
    let (context, ..) = context("memory_limiter");
    let readings = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&readings);
    let reading = move || {
        *counted.lock().unwrap() += 1;
        Ok(MIB)
    };
    let mut built = config(128, 28).build_with(&context, Arc::new(Sink::default()), Arc::new(reading));
    built.component.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*readings.lock().unwrap(), 0);
    for (wait_ms, expected) in [(0, 1), (500, 1), (501, 2), (999, 2), (5000, 3)] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        built.consumer.consume(logs(1)).await.unwrap();
        assert_eq!(*readings.lock().unwrap(), expected, "after {wait_ms} ms more");
    }
}

/// Guarantees: nothing is refused where the memory in use cannot be read, and it is not read again.
#[tokio::test(start_paused = true)]
async fn unreadable_memory_refuses_nothing() {
    let (context, _, board) = context("memory_limiter");
    let readings = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&readings);
    let reading = move || {
        *counted.lock().unwrap() += 1;
        Err("no such file".to_owned())
    };
    let mut built = config(1, 0).build_with(&context, Arc::new(Sink::default()), Arc::new(reading));
    built.component.start().await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        built.consumer.consume(logs(1)).await.unwrap();
    }
    assert_eq!(*readings.lock().unwrap(), 1);
    assert!(board.statuses_reported().is_empty());
}

/// Guarantees: a limiter can be shut down without a start and twice, and lets what drains down through.
#[tokio::test(start_paused = true)]
async fn shutdown_opens_the_gate() {
    let (context, ..) = context("memory_limiter");
    let mut built = config(1, 0).build_with(&context, Arc::new(Sink::default()), Arc::new(|| Ok(2 * MIB)));
    built.component.shutdown().await.unwrap();
    built.component.start().await.unwrap();
    assert!(built.consumer.consume(logs(1)).await.is_err());
    built.component.shutdown().await.unwrap();
    built.component.shutdown().await.unwrap();
    built.consumer.consume(logs(1)).await.unwrap();
}

/// Guarantees: the real reading counts what the process holds for itself, in bytes, and not the pages of files that it
/// maps: those of this very program are resident and left out.
/// Needs: Linux's /proc.
#[cfg(target_os = "linux")]
#[test]
fn reads_this_process() {
    let before = bytes_in_use().unwrap();
    let held = vec![1_u8; usize::try_from(64 * MIB).unwrap()];
    let after = bytes_in_use().unwrap();
    assert!((60 * MIB..100_000 * MIB).contains(&(after - before)), "{before}, then {after}");
    drop(held);
    let status = procfs::process::Process::myself().unwrap().status().unwrap();
    let (resident, of_files) = (status.vmrss.unwrap() * 1024, status.rssfile.unwrap() * 1024);
    assert!(of_files > MIB);
    assert!(bytes_in_use().unwrap() + of_files / 2 < resident, "{resident}, {of_files}");
}
