//! Records about containers.

use mlh_targets::cgroup_reading::made_up_id;

use super::*;

fn of_container(kind: FindingKind) -> Finding {
    Finding {
        about: About::Container(ContainerKey(555)),
        leader: Some(ProcessKey { pid: 4242, start_ns: 12_500_000_000 }),
        container: None,
        ..finding(kind)
    }
}

fn leak(end: Option<Exhaustion>) -> Finding {
    of_container(detected(end).kind)
}

fn value<'a>(attributes: &'a [(&'a str, String)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known.ends_with(key)).map(|(_, value)| value.as_str())
}

/// Guarantees: a container's record says whom it is about and who in it grew most, under a Resource with the container,
/// its pod, its own cgroup and that process.
#[test]
fn a_container_and_who_grew_most() {
    let limit = end(540.0, 500.0, 600.0, LimitKind::Max, Some(555));
    let (resource, record) = encoded(&leak(Some(limit)), &subject());
    assert_eq!(
        body(&record),
        "Container 4f1e5c9ab012 (most of it api-server, pid 4242) leaks 2.0 MB/min (1.9 to 2.1), 14.2 MB since \
         03:14:07 UTC, unless it is a cache that still fills; its memory limit of 268.4 MB is reached in about 9 min."
    );
    let attributes = shown(&record.attributes);
    for (key, expected) in [
        (".scope", "\"container\""),
        (".pid", "4242"),
        (".command", "\"api-main\""),
        (".memory_cgroup_id", "555"),
        (".limit", "\"memory.max\""),
        (".limit_bytes", "268435456"),
        (".limit_cgroup", "\"555\""),
        (".time_to_oom_latest_s", "600"),
    ] {
        assert_eq!(value(&attributes, key), Some(expected), "{key}");
    }
    assert_eq!(value(&attributes, "upper_bound"), None);
    let resource = shown(&resource);
    for (key, expected) in [
        ("service.name", "\"api-server\"".to_owned()),
        ("container.id", format!("{CONTAINER:?}")),
        ("k8s.pod.uid", "\"pod-uid\"".to_owned()),
        ("process.pid", "4242".to_owned()),
        ("process.linux.cgroup", "\"/kubepods/podpod-uid/4f1e\"".to_owned()),
    ] {
        assert_eq!(value(&resource, key), Some(expected.as_str()), "{key}");
    }
}

/// Guarantees: where nobody is known to speak for a container, no pid, command or program is made up for it, and its
/// Resource still has a service name; ids that were made up for want of real ones stay inside.
#[test]
fn a_container_of_which_no_process_is_known() {
    let inner = made_up_id("/docker/x");
    let reading =
        ProcessReading { memory_cgroup_id: Some(inner), cgroup_id: Some(inner), ..ProcessReading::default() };
    let subject = Subject { reading, container_id: Some(CONTAINER.to_owned()), ..Subject::default() };
    let outer = end(540.0, 500.0, 600.0, LimitKind::Max, Some(made_up_id("/docker")));
    let (resource, record) = encoded(&leak(Some(outer)), &subject);
    assert_eq!(
        body(&record),
        "Container 4f1e5c9ab012 leaks 2.0 MB/min (1.9 to 2.1), 14.2 MB since 03:14:07 UTC, unless it is a cache that still fills; an outer cgroup's memory \
         limit of 268.4 MB is reached in about 9 min."
    );
    let attributes = shown(&record.attributes);
    for key in [".pid", ".command", "cgroup_id", ".limit_cgroup"] {
        assert_eq!(value(&attributes, key), None, "{key}");
    }
    assert_eq!(value(&attributes, ".limit"), Some("\"memory.max\""));
    let own: Vec<_> = shown(&resource)
        .into_iter()
        .filter(|(key, _)| !key.starts_with("host.") && !key.starts_with("k8s."))
        .collect();
    assert_eq!(
        own,
        strings(&[("service.name", "\"unknown_service\""), ("container.id", &format!("{CONTAINER:?}"))])
    );
}

/// Guarantees: where only a sum of processes is at hand, words and an attribute say so, for every kind.
#[test]
fn upper_bounds_are_said() {
    let note = " (a sum over its processes: shared pages are counted several times).";
    let who = "Container 4f1e5c9ab012 (most of it api-server, pid 4242)";
    let kinds = [
        (
            FindingKind::Growth { grown: 1_400_000, since: at(847) },
            "grew by at most 1.4 MB since 03:14:07 UTC, to 43.0 MB",
        ),
        (
            FindingKind::Suspected(trend()),
            "has been growing steadily for 7 min: at most 2.0 MB/min (1.9 to 2.1), 4.0 MB so far; it is being watched closely",
        ),
        (
            leak(None).kind,
            "leaks at most 2.0 MB/min (1.9 to 2.1), 14.2 MB since 03:14:07 UTC, unless it is a cache that still fills",
        ),
        (
            FindingKind::Cleared { reason: Cleared::Exited, was: Stage::Leaking, peak: 14_200_000 },
            "was leaking and is gone; it had grown by at most 14.2 MB",
        ),
    ];
    for (kind, said) in kinds {
        let (_, record) = encoded(&Finding { upper_bound: true, ..of_container(kind) }, &subject());
        assert_eq!(body(&record), format!("{who} {said}{note}"));
        assert_eq!(value(&shown(&record.attributes), "upper_bound"), Some("true"));
    }
}

/// Guarantees: a cgroup that is no runtime's container is called by its path, and its limits by whose they are.
#[test]
fn whose_limit() {
    let service = Subject {
        container_id: None,
        cgroup_path: Some("/system.slice/api.service".to_owned()),
        ..subject()
    };
    let told = |about: &Finding, subject: &Subject, kind, id| {
        let kind = match &about.kind {
            FindingKind::Detected(verdict) => {
                let exhaustion = Some(end(540.0, 500.0, 600.0, kind, id));
                FindingKind::Detected(Verdict { exhaustion, ..*verdict })
            }
            other => *other,
        };
        let (_, record) = encoded(&Finding { kind, ..*about }, subject);
        body(&record).split_once("; ").unwrap().1.to_owned()
    };
    let (of_service, of_process) = (leak(None), detected(None));
    assert!(
        body(&encoded(&of_service, &service).1)
            .starts_with("Cgroup /system.slice/api.service (most of it api-server, ")
    );
    let own = Some(555);
    let high = "its memory.high of 268.4 MB, where the kernel slows it down, is reached in about 9 min.";
    assert_eq!(told(&of_service, &service, LimitKind::High, own), high);
    assert_eq!(
        told(&of_process, &subject(), LimitKind::Max, own),
        "its container's memory limit of 268.4 MB is reached in about 9 min."
    );
    let around = Subject { limit_path: Some("/system.slice\n".to_owned()), ..service };
    assert_eq!(
        told(&of_service, &around, LimitKind::Max, Some(9)),
        "cgroup /system.slice?'s memory limit of 268.4 MB is reached in about 9 min."
    );
    assert_eq!(
        told(&of_process, &around, LimitKind::Host, None),
        "the host's memory is gone in about 9 min."
    );
}
