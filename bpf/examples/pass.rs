//! Prints one pass, a process a line: pid, host pid, own pid, parent, slack, anonymous bytes, name, executable.
//! Named pids are watched, and so come out exact. With `cgroups` instead of pids it prints the cgroups.

#[cfg(all(target_os = "linux", feature = "kernel"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use mlh_bpf::pass::collect;
    use mlh_bpf::sweep::{SweepOptions, Sweeper};

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cgroups = arguments.iter().any(|argument| argument == "cgroups");
    let pids = arguments.iter().filter(|argument| *argument != "cgroups").map(|pid| pid.parse());
    let pids = pids.collect::<Result<Vec<u32>, _>>()?;
    let mut sweeper = Sweeper::open(&SweepOptions::default())?;
    let mut bytes = Vec::new();
    sweeper.watch(&pids, &[])?;
    sweeper.full(&mut bytes)?;
    let pass = collect(&bytes, &sweeper.counters());
    for row in pass.cgroups.iter().filter(|_| cgroups) {
        println!("{row:?}");
    }
    for row in pass.processes.into_iter().filter(|_| !cgroups) {
        let ids = [row.pid, row.host_pid, row.own_pid, row.parent].map(|id| id.to_string()).join("\t");
        println!("{ids}\t{}\t{}\t{:?}\t{:?}", row.slack, row.anon, row.comm, row.executable);
    }
    if let Some(error) = pass.first_error {
        eprintln!("{} rows could not be read, the first of them: {error}", pass.errors);
    }
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "kernel")))]
fn main() {
    eprintln!("the sweep needs Linux and the feature `kernel`");
}
