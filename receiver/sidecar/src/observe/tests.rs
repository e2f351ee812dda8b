use super::*;

/// Guarantees: what the detector judges is what the pass read, member by member.
#[test]
fn reading_to_sample() {
    let reading = ProcessReading {
        pid: 7,
        start_ns: 8,
        anon: 1,
        swap: 2,
        shmem: 3,
        file: 4,
        slack: 5,
        image: 6,
        cpu_ns: Some(9),
        threads: 10,
        ..ProcessReading::default()
    };
    let expected = Sample {
        container: None,
        key: ProcessKey { pid: 7, start_ns: 8 },
        memory: Memory { anon: 1, swap: 2, shmem: 3, file: 4 },
        slack: 5,
        image: 6,
        cpu_ns: Some(9),
        threads: 10,
    };
    assert_eq!(sample(&reading), expected);
    assert_eq!(key(&reading), expected.key);
}

/// Guarantees: the choice tells the log which way was taken, and why the other was not.
#[test]
fn choices_explain_themselves() {
    assert!(Choice::Kernel.to_string().contains("eBPF"));
    assert!(Choice::Proc.to_string().contains("as asked"));
    let fallback = Choice::Fallback { reason: "there is no BTF".into() }.to_string();
    assert!(fallback.contains("/proc") && fallback.contains("because there is no BTF"));
}

#[cfg(not(target_os = "linux"))]
/// Guarantees: off Linux there is no way to look, and the error names what works there.
#[test]
fn elsewhere() {
    let error = open(&Options::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("replay"), "{error}");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;

    use super::*;

    fn own(observation: &Observation) -> &ProcessReading {
        let me = std::process::id();
        observation.readings.iter().find(|reading| reading.pid == me).unwrap()
    }

    /// Guarantees: through `/proc` a full pass holds this process and others, a watched one only who was asked for,
    /// both with the host's memory and a time that does not go back.
    #[test]
    fn through_proc() {
        let options = Options { prefer: Prefer::Proc, ..Options::default() };
        let (mut observer, choice) = open(&options).unwrap();
        assert_eq!((choice, observer.describe()), (Choice::Proc, "through /proc"));
        let full = observer.full().unwrap();
        assert_eq!(full.pass, Pass::Full);
        assert!(full.readings.len() > 1 && own(&full).anon > 0);
        assert!(full.host.total > 0 && full.host.available > 0);
        let watched = observer.watched(&[std::process::id()], &[]).unwrap();
        assert_eq!((watched.pass, watched.readings.len()), (Pass::Watched, 1));
        assert!(watched.at >= full.at + full.took);
    }

    /// Guarantees: type information that is not there is no reason to stop: `/proc` is used, and the choice says why.
    #[test]
    fn falls_back_with_the_reason() {
        let options = Options { btf_path: Some(PathBuf::from("/nonexistent/btf")), ..Options::default() };
        let (mut observer, choice) = open(&options).unwrap();
        assert!(matches!(&choice, Choice::Fallback { reason } if !reason.is_empty()), "{choice:?}");
        assert!(own(&observer.full().unwrap()).anon > 0);
    }

    /// Guarantees: both ways agree on this process: identity, names, cgroups, and memory to within their slack.
    ///
    /// Needs: eBPF with `CAP_BPF` and `CAP_PERFMON` (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`).
    #[cfg(feature = "ebpf")]
    #[test]
    fn both_ways_agree() {
        let mut kernel = match open(&Options::default()).unwrap() {
            (observer, Choice::Kernel) => observer,
            (_, choice) => {
                assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|v| v != "1"), "{choice}");
                eprintln!("SKIPPED: {choice}");
                return;
            }
        };
        assert_eq!(kernel.describe(), "in the kernel (eBPF)");
        // a process of this test's own, so that nothing allocates in between
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let (mut proc, _) = open(&Options { prefer: Prefer::Proc, ..Options::default() }).unwrap();
        // until exec is over and the program sleeps
        let settled = |observer: &mut dyn Observer| {
            for _ in 0..100_000 {
                let seen = observer.watched(&[child.id()], &[]).unwrap();
                let state = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
                if seen.readings.first().is_some_and(|r| r.executable == "sleep") && state.contains(") S ") {
                    return observer.watched(&[child.id()], &[]).unwrap().readings.remove(0);
                }
            }
            panic!("the program never came to rest");
        };
        let (in_kernel, in_proc) = (settled(&mut *kernel), settled(&mut *proc));
        let full = kernel.full().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(in_kernel.start_ns / 10_000_000, in_proc.start_ns / 10_000_000);
        assert_eq!((&in_kernel.comm, &in_kernel.executable), (&in_proc.comm, &in_proc.executable));
        assert_eq!((in_kernel.parent, in_kernel.own_pid), (in_proc.parent, in_proc.own_pid));
        assert_eq!(in_kernel.cgroup_id, in_proc.cgroup_id);
        assert_eq!(in_kernel.memory_cgroup_id, in_proc.memory_cgroup_id);
        assert_eq!((in_kernel.threads, in_kernel.virtual_size), (in_proc.threads, in_proc.virtual_size));
        assert!(in_kernel.anon.abs_diff(in_proc.anon) <= in_kernel.slack + in_proc.slack);
        assert_eq!(full.pass, Pass::Full);
        assert!(full.readings.iter().any(|reading| reading.pid == child.id()));
        assert!(full.errors.is_empty(), "{:?}", full.errors);
    }
}
