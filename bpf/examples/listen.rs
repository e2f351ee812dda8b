//! `listen SECONDS [PAGES [PID ...]]`: listens for OOM kills, and for growth by so many pages (256) of these processes (all).
//! Prints the kills: host pid, pid here, memory cgroup.

#[cfg(all(target_os = "linux", feature = "kernel"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::Duration;

    use mlh_bpf::events::{Crossings, EventOptions, KernelEvent, Listener, Scope};

    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u32>());
    let seconds = numbers.next().ok_or("for how many seconds?")??;
    let threshold_pages = numbers.next().transpose()?.unwrap_or(256).into();
    let pids = numbers.collect::<Result<Vec<u32>, _>>()?;
    let scope = if pids.is_empty() { Scope::Host } else { Scope::Watched };
    let options = EventOptions {
        btf_path: None,
        oom_kills: true,
        crossings: Some(Crossings { threshold_pages, scope }),
    };
    let (listener, blind) = Listener::open(&options, |event| {
        if let KernelEvent::OomKill { process, .. } = event {
            println!(
                "oom kill of {} here {} in {:?}",
                process.host_pid, process.pid, process.memory_cgroup_id
            );
        }
    })?;
    for spot in blind {
        println!("no {}: {}", spot.what, spot.reason);
    }
    listener.watch(&pids)?;
    println!("listening");
    std::thread::sleep(Duration::from_secs(seconds.into()));
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "kernel")))]
fn main() {
    eprintln!("the listener needs Linux and the feature `kernel`");
}
