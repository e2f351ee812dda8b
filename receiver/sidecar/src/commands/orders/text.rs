//! A status for people.

use std::fmt::Write as _;
use std::time::Duration;

pub(super) use crate::records::words::printable;

use crate::control::{
    ClimbMessage, FrameMessage, GrowthMessage, MemberMessage, StackMessage, StatusMessage, TraceMessage,
};
use crate::leaks::{LeakMemberMessage, LeakMessage};
use crate::records::words::{percent, size, span};

/// Stacks of growth that are shown.
const TOP: usize = 10;

/// Writing into a text cannot fail, so what comes of it is not looked at.
macro_rules! line {
    ($out:expr, $($words:tt)*) => {{ let _ = writeln!($out, $($words)*); }};
}

pub(super) fn status(status: &StatusMessage) -> String {
    let mut out = String::new();
    line!(out, "mode        {}", printable(&status.mode));
    for (index, climb) in status.climbs.iter().enumerate() {
        line!(out, "{:<12}{}", if index == 0 { "follows up" } else { "" }, followed(climb));
    }
    leaks(&mut out, &status.leaks);
    let Some(target) = &status.target else {
        line!(out, "target      none; `memory-leak-hunter target --pid N` looks at one");
        return out;
    };
    line!(out, "target      {}", printable(target));
    if let Some(asked_by) = &status.asked_by {
        line!(out, "asked by    {}", printable(asked_by));
    }
    if let Some(lasted) = status.lasted_s {
        let left = status.remaining_s.map(|left| format!(", {} left", length(left)));
        line!(out, "for         {}{}", length(lasted), left.unwrap_or_default());
    }
    for (index, member) in status.members.iter().enumerate() {
        line!(out, "{:<12}{}", if index == 0 { "looks at" } else { "" }, who(member));
    }
    totals(&mut out, status);
    if let Some(cost) = &status.cost {
        let share = cost.target_cpu_share * 100.0;
        let (kernel, hits) = (size(cost.kernel_bytes), cost.hits);
        line!(
            out,
            "cost        {share:.2} % of the target's CPU time (of one CPU at least), {hits} probe hits, {kernel} of kernel memory"
        );
        if cost.watched_share < 1.0 {
            line!(out, "            probes were in place for {} of the time", percent(cost.watched_share));
        }
    }
    for (index, reason) in status.not_seen.iter().enumerate() {
        line!(out, "{:<12}{}", if index == 0 { "not seen" } else { "" }, printable(reason));
    }
    let holding: Vec<_> = status.stacks.iter().filter(|stack| stack.live_bytes > 0).collect();
    if !holding.is_empty() {
        line!(out, "\nThe stacks that hold the most:");
    }
    for stack in holding {
        line!(out, "{}", held(stack));
    }
    if !status.growth.is_empty() {
        line!(out, "\nThe stacks that touched the memory that is still there:");
    }
    for growth in status.growth.iter().take(TOP) {
        line!(out, "{}", grown(growth));
    }
    out
}

/// A suspicion, why and for how long it is followed up, and what is known by now.
fn followed(climb: &ClimbMessage) -> String {
    let culprits = climb.culprits.first().map(|culprit| format!(": {}", printable(culprit)));
    format!(
        "{}, {}, by {} for {}{}",
        printable(&climb.target),
        printable(&climb.why),
        printable(&climb.rungs.join(" and ")),
        length(climb.lasted_s),
        culprits.unwrap_or_default()
    )
}

fn grown(growth: &GrowthMessage) -> String {
    let sampled = format!("{} ± {}", size(growth.bytes), size(growth.error_bytes));
    format!("{sampled:>20}  {}: {}", printable(&growth.pattern), whose(&growth.trace))
}

/// Those that somebody has now, a line each, and how many are known from before.
fn leaks(out: &mut String, known: &[LeakMessage]) {
    let now: Vec<_> = known.iter().filter(|leak| !leak.members.is_empty()).collect();
    for (index, leak) in now.iter().enumerate() {
        line!(out, "{:<12}{}", if index == 0 { "leaks now" } else { "" }, leaking(leak));
    }
    if known.len() > now.len() {
        line!(out, "{:<12}{}", "known leaks", known.len() - now.len());
    }
}

fn leaking(leak: &LeakMessage) -> String {
    let executable = leak.executable.rsplit('/').next().unwrap_or(&leak.executable);
    let place = leak.place.as_deref().map(|place| format!(", {place}")).unwrap_or_default();
    let velocity: f64 = leak.members.iter().map(|member| member.velocity_bytes_per_second).sum();
    let who = match leak.members.as_slice() {
        [LeakMemberMessage { container: Some(container), .. }] => {
            format!("in container {}", container.chars().take(12).collect::<String>())
        }
        [LeakMemberMessage { pid: Some(pid), .. }] => format!("in pid {pid}"),
        members => format!("in {} processes and containers", members.len()),
    };
    let often = match leak.occurrences {
        0 | 1 => String::new(),
        times => format!("; seen {times} times since {}", leak.first_seen),
    };
    // what makes up a name may be hostile, and so may a rate
    let rate = size((velocity * 3600.0).max(0.0) as u64);
    printable(&format!("{executable}{place}, {rate}/h {who}{often} ({})", leak.id))
}

fn totals(out: &mut String, status: &StatusMessage) {
    let Some(totals) = &status.totals else { return };
    // without probes no allocation is seen
    if status.mode == "growth_stacks" {
        return;
    }
    let at_least = if totals.lost > 0 || totals.not_fitted > 0 { "at least " } else { "" };
    let (live, count) = (size(totals.live_bytes), totals.live_count);
    let (allocated, freed) = (size(totals.allocated_bytes), size(totals.freed_bytes));
    line!(
        out,
        "holds       {at_least}{live} in {count} blocks; {allocated} allocated and {freed} freed since"
    );
    if totals.mapped_count > 0 {
        line!(out, "maps        {} in {} mappings", size(totals.mapped_bytes), totals.mapped_count);
    }
    for (count, what) in [
        (totals.evicted, "blocks were forgotten before they were freed: raise max_tracked_allocations"),
        (totals.not_fitted, "allocations found no room"),
        (totals.lost, "records of the kernel were lost"),
        (totals.rate_limited, "records were over max_events_per_second"),
    ] {
        if count > 0 {
            line!(out, "            {count} {what}");
        }
    }
}

fn who(member: &MemberMessage) -> String {
    let mut text =
        format!("pid {} ({}), {}", member.pid, printable(&member.command), printable(&member.runtime));
    let _ = write!(text, ", {} probes", member.probes);
    if !member.allocators.is_empty() {
        let _ = write!(text, " in {}", printable(&member.allocators.join(", ")));
    }
    for (is, words) in [(member.gone, "; has ended"), (member.braked, "; over budget: its probes are gone")] {
        text.push_str(if is { words } else { "" });
    }
    text
}

fn held(stack: &StackMessage) -> String {
    let what = if stack.mapped { "mappings" } else { "blocks" };
    let sampled =
        if stack.error_bytes > 0 { format!(" ± {}", size(stack.error_bytes)) } else { String::new() };
    let at_least = if stack.at_least { "at least " } else { "" };
    format!(
        "{:>12}  {} {what}, the oldest {}: {}",
        format!("{at_least}{}{sampled}", size(stack.live_bytes)),
        stack.live_count,
        length(stack.oldest_s),
        whose(&stack.trace)
    )
}

/// Who is to blame, or that nobody is known.
fn whose(trace: &TraceMessage) -> String {
    match trace.blamed() {
        Some(frame) => place(frame),
        None if trace.stack.is_empty() => "no stack".to_owned(),
        None => "no frame of the program".to_owned(),
    }
}

fn place(frame: &FrameMessage) -> String {
    let module = frame.module.rsplit('/').next().unwrap_or(&frame.module);
    let mut text = match &frame.function {
        Some(function) => format!("{function} in {module}"),
        None => format!("{module}+{}", frame.offset),
    };
    if let (Some(file), Some(line)) = (&frame.file, frame.line) {
        let _ = write!(text, " ({file}:{line})");
    }
    printable(&text)
}

fn length(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> StatusMessage {
        serde_json::from_str(json).unwrap()
    }

    /// Guarantees: without a target the status says how to name one.
    #[test]
    fn nobody_is_looked_at() {
        let text = status(&message(r#"{"version":"1","mode":"growth_detection"}"#));
        assert!(text.contains("growth_detection") && text.contains("target --pid N"), "{text}");
    }

    /// Guarantees: a suspicion that is followed up is told with who, how and what is known, though nobody is looked at by order; so is
    /// who touched the memory that stays.
    #[test]
    fn climbs_and_growth() {
        let text = status(&message(
            r#"{"version":"1","mode":"growth_detection",
            "climbs":[{"target":"pid 7","rungs":["outside","growth_stacks"],"why":"suspected","lasted_s":42,
                "culprits":["93 % remember (a.c:88)"]}]}"#,
        ));
        let expected =
            "follows up  pid 7, suspected, by outside and growth_stacks for 42 s: 93 % remember (a.c:88)";
        assert!(text.contains(expected), "{text}");
        let text = status(&message(
            r#"{"version":"1","mode":"growth_stacks","target":"pid 7","growth":[{"pid":7,"share":1,"bytes":4000000,
            "error_bytes":100000,"steady_bytes":3900000,"pattern":"steady","velocity_bytes_per_second":1,"stack_hash":"0",
            "culprit":0,"stack":[{"function":"remember","module":"/bin/api","offset":"0x2","inlined":false}]}]}"#,
        ));
        assert!(text.contains("4.0 MB ± 100.0 kB  steady: remember in api"), "{text}");
    }

    /// Guarantees: leaks of now are told a line each, with who has them, how fast they are, and how often they were seen; those
    /// from before are counted.
    #[test]
    fn known_leaks() {
        let leak = |members: &str, place: &str, occurrences: u32| {
            format!(
                r#"{{"id":"00000000000000aa","executable":"/bin/a\u001bpi",{place}"first_seen":"2026-11-25T03:14:07.000Z",
                "last_seen":"2026-11-26T03:14:07.000Z","occurrences":{occurrences},"kills":0,"members":[{members}]}}"#
            )
        };
        let member = |who: &str| {
            format!(
                r#"{{"scope":"process",{who}"since":"","velocity_bytes_per_second":1000,"leaked_bytes":1}}"#
            )
        };
        let all = [
            leak(&member(r#""pid":7,"#), r#""place":"remember in api","#, 1),
            leak(&member(r#""container":"4f1e5c9ab0123","#), "", 3),
            leak(&[member(r#""pid":7,"#), member(r#""pid":8,"#)].join(","), "", 2),
            leak("", "", 9),
        ];
        let text = status(&message(&format!(
            r#"{{"version":"1","mode":"growth_detection","leaks":[{}]}}"#,
            all.join(",")
        )));
        for part in [
            "leaks now   a?pi, remember in api, 3.6 MB/h in pid 7 (00000000000000aa)\n",
            "3.6 MB/h in container 4f1e5c9ab012; seen 3 times since 2026-11-25T03:14:07.000Z (",
            "7.2 MB/h in 2 processes and containers; seen 2 times",
            "known leaks 1\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    /// Guarantees: a look is told with who, how long, what is held and where, or that nobody is to blame, what it costs and what was not seen; what a
    /// process calls itself cannot move the cursor; what was lost makes the sums say "at least".
    #[test]
    fn a_look() {
        let told = r#"{"version":"1","mode":"targeted","target":"pid 7","asked_by":"uid 0","remaining_s":240,"lasted_s":60,
            "members":[{"pid":7,"command":"a\u001b[2Jpi","runtime":"native","cgroup_id":1,"probes":12,
                "allocators":["glibc"],"placements":["entry"],"blind_spots":[],"gone":false,"braked":true}],
            "stacks":[{"pid":7,"operation":"malloc","mapped":false,"live_bytes":4000000,"live_count":40,
                "error_bytes":1000,"allocated_bytes":1,"allocated_count":1,"freed_bytes":0,"freed_count":0,
                "allocation_rate_bytes_per_second":1,"free_rate_bytes_per_second":0,"ages":[0,0,0,0,0,1],
                "oldest_s":59,"largest_bytes":1,"at_least":false,"stack_hash":"0","culprit":1,
                "stack":[{"function":"malloc","module":"/libc.so","offset":"0x1","inlined":false},
                    {"function":"remember","module":"/bin/api","offset":"0x2","file":"a.c","line":88,"inlined":false}]}],
            "totals":{"allocated_count":1,"allocated_bytes":5000000,"freed_count":0,"freed_bytes":1000000,
                "live_count":40,"live_bytes":4000000,"mapped_bytes":0,"mapped_count":0,"largest_bytes":1,
                "evicted":3,"not_fitted":0,"lost":2,"rate_limited":0,"unknown_frees":0,"failed":0},
            "cost":{"target_cpu_share":0.0004,"agent_cpu_s":0.1,"kernel_bytes":20000000,"hits":99,"watched_share":0.5},
            "not_seen":["the Go heap"]}"#;
        let text = status(&message(told));
        for part in [
            "pid 7 (a?[2Jpi), native, 12 probes in glibc; over budget",
            "60 s, 4 min left",
            "at least 4.0 MB in 40 blocks; 5.0 MB allocated and 1.0 MB freed",
            "3 blocks were forgotten",
            "0.04 % of the target's CPU time (of one CPU at least), 99 probe hits, 20.0 MB of kernel memory",
            "in place for 50 %",
            "the Go heap",
            "remember in api (a.c:88)",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let nobody = status(&message(&told.replace("\"culprit\":1,", "")));
        assert!(nobody.contains(": no frame of the program\n"), "{nobody}");
    }
}
