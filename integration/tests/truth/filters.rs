//! Every filter, with a case in which it changes what comes out. All of it through a configuration, and out by the
//! event file, the control socket and the metrics.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mlh_integration::hunter::{Hunter, PATIENCE, custom, known, number, told_bytes};
use mlh_integration::need;
use mlh_integration::orders::Obedient;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::wait::until;

const UNFREED: u32 = 3;

/// A target, and a sidecar that looks at it by its pid with further settings. Nothing is sampled, the budget is large, and
/// what is unfreed is told soon, unless they say otherwise.
fn targeted(world: &World, name: &str, settings: &str) -> anyhow::Result<(Hunter, Obedient)> {
    need::ebpf()?;
    let target = Obedient::start(world, &format!("target-{name}"))?;
    let mut all = format!("mode: targeted, target_pid: {}", target.pid());
    if !settings.is_empty() {
        all += &format!(", {settings}");
    }
    for (key, value) in [
        ("target_duration", "10m"),
        ("sampling_rate", "1"),
        ("overhead_budget", "100%"),
        ("min_unfreed_age", "1s"),
    ] {
        if !settings.contains(key) {
            all += &format!(", {key}: {value}");
        }
    }
    let mut hunter = Hunter::start(world, name, &all)?;
    hunter.in_mode("targeted")?;
    Ok((hunter, target))
}

/// Guarantees: with `min_allocation_size: 1KiB` blocks of 4 KiB are told to the byte, and with the default of 10 KiB
/// they are not known at all, while blocks of 20 KiB are.
/// Needs: root, eBPF, gcc.
#[test]
fn min_allocation_size() {
    scenario(|world| {
        for (name, settings, small) in [("default", "", 0), ("low", "min_allocation_size: 1KiB", 50)] {
            let (mut hunter, mut target) = targeted(world, name, settings)?;
            target.obey("a 50 4096")?;
            target.obey("b 50 20480")?;
            let b = hunter.knows("keep_b", 50)?.figures;
            let status = hunter.status()?;
            ensure!(b.live_bytes == 50 * told_bytes(&status, 20480), "{name}: {b:?}");
            let a = hunter.knows("keep_a", small)?.figures;
            ensure!((a.live, a.live_bytes) == (small, small * told_bytes(&status, 4096)), "{name}: {a:?}");
            hunter.tells(UNFREED, target.pid(), if small > 0 { 2 } else { 1 })?;
        }
        Ok(())
    });
}

/// Guarantees: from `large_allocation_size` on every block is known, however rarely smaller ones are sampled; it is that
/// setting that decides which are large.
/// Needs: root, eBPF, gcc.
#[test]
fn large_allocation_size() {
    scenario(|world| {
        for (name, large, of_a) in [("from-64", "64KiB", 0), ("from-16", "16KiB", 40)] {
            let settings = format!("sampling_rate: 1000000, large_allocation_size: {large}");
            let (mut hunter, mut target) = targeted(world, name, &settings)?;
            target.obey("a 40 32768")?;
            target.obey("b 40 65536")?;
            let b = hunter.knows("keep_b", 40)?;
            let each = told_bytes(&hunter.status()?, 65536);
            ensure!(
                (b.figures.live, b.figures.live_bytes, b.error_bytes) == (40, 40 * each, 0),
                "{name}: {b:?}"
            );
            let a = hunter.knows("keep_a", of_a)?.figures;
            ensure!(a.live == of_a, "{name}: {a:?}");
        }
        Ok(())
    });
}

/// Guarantees: with `sampling_rate: 1` every block is known; with 10 the estimate comes with its error, is no sum of
/// all, and lies within three times the error of the truth.
/// Needs: root, eBPF, gcc.
#[test]
fn sampling_rate() {
    scenario(|world| {
        let (mut hunter, mut target) = targeted(world, "all", "sampling_rate: 1")?;
        target.obey("a 4000 20480")?;
        let all = hunter.knows("keep_a", 4000)?;
        let truth = 4000 * told_bytes(&hunter.status()?, 20480);
        ensure!((all.figures.live_bytes, all.error_bytes) == (truth, 0), "{all:?}");

        let (mut hunter, mut target) = targeted(world, "sampled", "sampling_rate: 10")?;
        target.obey("a 4000 20480")?;
        // what is known of it is known within a second of the work
        let sampled = hunter.knows("keep_a", 2000)?;
        let off = sampled.figures.live_bytes.abs_diff(truth);
        ensure!(sampled.error_bytes > 0 && off <= sampled.error_bytes * 3, "{truth} are {sampled:?}");
        ensure!(sampled.error_bytes < truth / 5, "an error of no use: {sampled:?}");
        ensure!(
            hunter.metric("memory_leak_hunter_allocations_tracked_total", "")? < 1000.0,
            "nothing is left out"
        );
        let record = hunter.tells(UNFREED, target.pid(), 1)?.remove(0);
        ensure!(number(&record, "live_error_bytes")? > 0.0, "{record}");
        Ok(())
    });
}

/// Guarantees: a block is told once it is older than `min_unfreed_age`, and not before.
/// Needs: root, eBPF, gcc.
#[test]
fn min_unfreed_age() {
    scenario(|world| {
        let (mut hunter, mut target) = targeted(world, "old", "min_unfreed_age: 1h")?;
        let (mut early, mut other) = targeted(world, "young", "min_unfreed_age: 3s")?;
        target.obey("a 50 20480")?;
        let begin = Instant::now();
        other.obey("a 50 20480")?;
        hunter.knows("keep_a", 50)?;
        let record = early.tells(UNFREED, other.pid(), 1)?.remove(0);
        ensure!(begin.elapsed() >= Duration::from_secs(3), "told after {:?}", begin.elapsed());
        ensure!(number(&record, "age_s")? >= 3.0, "{record}");
        ensure!(number(&record, "occurrences")? == 50.0, "{record}");
        ensure!(custom(&record, "stack")?.contains("keep_a"), "{record}");
        // as long again for the other one: it knows as much and does not tell
        std::thread::sleep(begin.elapsed());
        ensure!(hunter.events(UNFREED, target.pid())?.is_empty(), "told before its time");
        Ok(())
    });
}

/// Guarantees: a stack is told once in `stack_dedup_window`, however much it allocates; in the next one it is told
/// again, with all that it holds by then.
/// Needs: root, eBPF, gcc.
#[test]
fn stack_dedup_window() {
    scenario(|world| {
        let (mut once, mut target) = targeted(world, "long", "stack_dedup_window: 1h")?;
        let (mut again, mut other) = targeted(world, "short", "stack_dedup_window: 2s")?;
        target.obey("a 50 20480")?;
        other.obey("a 50 20480")?;
        once.tells(UNFREED, target.pid(), 1)?;
        again.tells(UNFREED, other.pid(), 1)?;
        target.obey("a 30 20480")?;
        other.obey("a 30 20480")?;
        until("the second record tells all", PATIENCE, || {
            let records = again.events(UNFREED, other.pid())?;
            let all = |record| Ok::<_, anyhow::Error>(number(record, "occurrences")? == 80.0);
            for record in records.iter().skip(1) {
                if all(record)? {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;
        once.knows("keep_a", 80)?;
        let records = once.events(UNFREED, target.pid())?;
        ensure!(records.len() == 1, "{} records within the window", records.len());
        Ok(())
    });
}

/// Guarantees: `emit_allocations` gives a record for each tracked allocation and deallocation, with the operation, the
/// address, the size and the caller; `max_events_per_second` bounds them, and what it holds back is counted.
/// Needs: root, eBPF, gcc.
#[test]
fn emit_allocations_and_max_events_per_second() {
    scenario(|world| {
        let (mut silent, mut target) = targeted(world, "silent", "emit_allocations: false")?;
        target.obey("a 300 20480")?;
        silent.knows("keep_a", 300)?;
        ensure!(silent.events(1, target.pid())?.is_empty(), "records that nobody asked for");

        let settings = "emit_allocations: true, max_events_per_second: 100000";
        let (mut free, mut target) = targeted(world, "free", settings)?;
        target.obey("a 300 20480")?;
        target.obey("free a")?;
        let is = |name: &'static str| {
            move |event: &&serde_json::Value| custom(event, "operation").is_ok_and(|o| o == name)
        };
        let record = until("300 allocations", PATIENCE, || {
            free.process.lives()?;
            let events = free.events(1, target.pid())?;
            let of: Vec<_> = events.iter().filter(is("malloc")).collect();
            Ok((of.len() == 300).then(|| of[299].clone()))
        })?;
        ensure!(
            number(&record, "size_bytes")? == told_bytes(&free.status()?, 20480) as f64
                && custom(&record, "address")?.starts_with("0x"),
            "{record}"
        );
        ensure!(record["event_data"]["kernel"]["event_type"] == "malloc", "{record}");
        ensure!(record["type"] == "kernel.filesystem" && record["severity"] == "info", "{record}");
        number(&record, "rss_pages")?;
        number(&record, "rss_growth")?;
        custom(&record, "caller_ip")?;
        until("300 deallocations", PATIENCE, || {
            Ok((free.events(2, target.pid())?.len() >= 300).then_some(()))
        })?;

        let settings = "emit_allocations: true, max_events_per_second: 5";
        let (mut bound, mut target) = targeted(world, "bound", settings)?;
        let begin = Instant::now();
        target.obey("a 300 20480")?;
        bound.knows("keep_a", 300)?;
        let held_back = until("losses being counted", PATIENCE, || {
            let lost = bound.metric("memory_leak_hunter_dropped_events_total", "stage=\"rate_limit\"")?;
            Ok((lost > 0.0).then_some(lost))
        })?;
        let told = bound.events(1, target.pid())?.len();
        // a bucket holds what a second gives
        let most = 5.0 * (begin.elapsed().as_secs_f64() + 2.0);
        ensure!((told as f64) <= most, "{told} records, {most} were allowed");
        ensure!(held_back + told as f64 >= 250.0, "{held_back} held back and {told} told of 300");
        Ok(())
    });
}

/// Guarantees: no more than `max_tracked_allocations` blocks are kept; those forgotten are counted, and are not taken
/// for freed ones.
/// Needs: root, eBPF, gcc.
#[test]
fn max_tracked_allocations() {
    scenario(|world| {
        for (name, most) in [("few", 200), ("many", 10_000)] {
            let settings = format!("max_tracked_allocations: {most}");
            let (mut hunter, mut target) = targeted(world, name, &settings)?;
            target.obey("a 2000 20480")?;
            hunter.knows("keep_a", 2000)?;
            // the table is read through once a second
            let known = until("the end of it being known", PATIENCE, || {
                let known = known(&hunter.status()?, "keep_a")?;
                Ok((known.at_least == (most < 2000)).then_some(known))
            })?;
            ensure!(known.freed == 0, "{name}: forgotten blocks are called freed: {known:?}");
            ensure!(known.figures.live <= most, "{name}: {known:?}");
            let evicted = hunter.status()?["totals"]["evicted"].as_u64().unwrap_or_default();
            let lost = |hunter: &Hunter| {
                hunter.metric("memory_leak_hunter_dropped_events_total", "stage=\"evicted\"")
            };
            if most < 2000 {
                ensure!(evicted >= 2000 - most, "{name}: {evicted} forgotten");
                until("them in the metrics", PATIENCE, || Ok((lost(&hunter)? > 0.0).then_some(())))?;
            } else {
                ensure!(evicted == 0 && lost(&hunter)? == 0.0, "{name}: {evicted} forgotten");
            }
        }
        Ok(())
    });
}

/// Guarantees: `exclude` keeps a program out of every mode: it is no target, and its growth is not told; beside it one
/// that is not excluded is told. `include` keeps all others out.
/// Needs: root, eBPF, gcc.
#[test]
fn include_and_exclude() {
    scenario(|world| {
        need::ebpf()?;
        let (mut kept_out, mut seen) =
            (Obedient::start(world, "target-out")?, Obedient::start(world, "target-in")?);
        for (name, settings) in [
            ("exclude", "exclude: {executables: ['^target-out$']}"),
            ("include", "include: {executables: ['^target-in$']}"),
        ] {
            let settings = format!("rss_check_interval: 1s, {settings}");
            let mut hunter = Hunter::start(world, name, &settings)?;
            let refused = hunter.order(&["target", "--pid", &kept_out.pid().to_string()]);
            ensure!(refused.is_err(), "{name}: a target that is left out: {refused:?}");
            hunter.order(&["target", "--pid", &seen.pid().to_string()])?;
            hunter.order(&["release"])?;
            for target in [&mut kept_out, &mut seen] {
                target.obey("a 4000 4096")?;
                target.obey("churn 1000 100")?;
            }
            // blocks are touched at their heads: each has a page of its own
            hunter.tells(4, seen.pid(), 1)?;
            let others = hunter.events(4, kept_out.pid())?;
            ensure!(others.is_empty(), "{name}: growth of what is left out is told: {others:?}");
        }
        Ok(())
    });
}

/// Guarantees: a target of the configuration is looked at for `target_duration`, then the sidecar goes back to growth
/// detection by itself, and says so both times.
/// Needs: root, eBPF, gcc.
#[test]
fn target_pid_and_duration() {
    scenario(|world| {
        need::ebpf()?;
        let target = Obedient::start(world, "target")?;
        let settings = format!("mode: targeted, target_pid: {}, target_duration: 3s", target.pid());
        let mut hunter = Hunter::start(world, "hunter", &settings)?;
        let events = hunter.tells(10, target.pid(), 2)?;
        for (event, from, to) in
            [(&events[0], "growth_detection", "targeted"), (&events[1], "targeted", "growth_detection")]
        {
            ensure!(custom(event, "previous_mode")? == from && custom(event, "mode")? == to, "{event}");
        }
        hunter.in_mode("growth_detection")?;
        Ok(())
    });
}

/// Guarantees: of a target that costs more than `overhead_budget` of its CPU time the probes go out and it is said how much of the
/// time it was watched, while it stays the target; one that does not is watched all of the time.
/// Needs: root, eBPF, gcc.
#[test]
fn overhead_budget() {
    scenario(|world| {
        let (mut calm, mut idle) = targeted(world, "calm", "overhead_budget: 0.1%")?;
        let (mut thinned, mut busy) =
            targeted(world, "busy", "overhead_budget: 0.1%, min_allocation_size: 16")?;
        idle.obey("a 10 20480")?;
        let watched = |status: &serde_json::Value| status["cost"]["watched_share"].as_f64();
        let status = until("the governor", PATIENCE, || {
            busy.obey("churn 200000 2000")?;
            let status = thinned.status()?;
            Ok(watched(&status).is_some_and(|share| share < 0.9).then_some(status))
        })?;
        ensure!(status["mode"] == "targeted", "{status}");
        let said = status["not_seen"].as_array().into_iter().flatten();
        let mut said = said.filter_map(serde_json::Value::as_str);
        ensure!(said.any(|sentence| sentence.contains("overhead_budget")), "{status}");
        calm.knows("keep_a", 10)?;
        let status = calm.status()?;
        ensure!(watched(&status) == Some(1.0), "thinned for nothing: {status}");
        thinned.order(&["release"])?;
        let events = thinned.tells(10, busy.pid(), 2)?;
        ensure!(number(&events[1], "watched_share")? < 0.95, "{}", events[1]);
        Ok(())
    });
}
