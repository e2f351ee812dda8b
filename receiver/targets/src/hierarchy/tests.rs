use super::*;

const MIB: u64 = 1 << 20;
const A: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const B: &str = "aaaa0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const POD: &str = "8a3b2c1d-0e4f-4a5b-8c6d-7e8f90a1b2c3";

fn v2(id: u64, parent: u64, name: &str) -> CgroupReading {
    CgroupReading { id, parent, unified: true, name: name.to_owned(), ..CgroupReading::default() }
}

fn v1(id: u64, parent: u64, name: &str) -> CgroupReading {
    CgroupReading { unified: false, memory: Some(CgroupMemory::default()), ..v2(id, parent, name) }
}

fn holding(memory: CgroupMemory, reading: CgroupReading) -> CgroupReading {
    CgroupReading { memory: Some(memory), ..reading }
}

fn of(readings: &[CgroupReading]) -> Hierarchy {
    let mut hierarchy = Hierarchy::default();
    hierarchy.full(readings);
    hierarchy
}

/// A node of a Kubernetes cluster: a pod of one container, with a cgroup of its own inside.
fn kubernetes() -> Vec<CgroupReading> {
    let container = CgroupReading { node_name: "shop-7d9f".to_owned(), ..v2(13, 12, A) };
    vec![
        v2(1, 0, ""),
        v2(10, 1, "kubepods"),
        v2(11, 10, "burstable"),
        v2(12, 11, &format!("pod{POD}")),
        container,
        v2(14, 13, "init"),
    ]
}

/// Guarantees: a path is the names from the root down, the root's is `/`, and where a cgroup on the way is missing
/// there is no path instead of a wrong one.
#[test]
fn paths() {
    let hierarchy = of(&kubernetes());
    assert_eq!(hierarchy.path(1).as_deref(), Some("/"));
    assert_eq!(hierarchy.path(14), Some(format!("/kubepods/burstable/pod{POD}/{A}/init")));
    assert_eq!(hierarchy.path(99), None);
    assert_eq!(of(&kubernetes()[3..]).path(14), None);
}

/// Guarantees: cgroups that claim to lie in each other, in themselves or absurdly deep end the walk; none of the
/// questions panics or hangs, and an id of 0 is nobody.
#[test]
fn circles_and_depth() {
    let limited = CgroupMemory { max: Some(MIB), ..CgroupMemory::default() };
    let mut circles = of(&[
        holding(limited, v2(2, 3, "a")),
        v2(3, 2, "b"),
        v2(4, 4, "self.service"),
        v2(0, 0, A),
        v2(5, 0, "top"),
    ]);
    for key in [2, 3, 4] {
        assert_eq!(circles.path(key), None);
    }
    assert_eq!(circles.limits_ahead(3, 0).first().map(|ahead| ahead.cgroup_id), Some(2));
    assert_eq!(circles.unit_of(4).unwrap().path, "self.service");
    assert_eq!(circles.unit_of(0), None);
    assert_eq!(circles.unit_of(5), None);

    let deep: Vec<_> = (1..=100_000).map(|id| v2(id, id - 1, "d")).collect();
    let mut deep = of(&deep);
    assert_eq!(deep.path(100_000), None);
    assert_eq!(deep.unit_of(100_000), None);
}

/// Guarantees: the unit of a process in a cgroup inside of a container is the container's own cgroup, with its id,
/// pod, hostname and path.
#[test]
fn the_unit_of_a_container() {
    let mut hierarchy = of(&kubernetes());
    let unit = hierarchy.unit_of(14).unwrap();
    let expected = Unit {
        key: 13,
        cgroup_id: 13,
        path: format!("/kubepods/burstable/pod{POD}/{A}"),
        container_id: container::id_from_path(A),
        pod_uid: Some(POD.to_owned()),
        node_name: Some("shop-7d9f".to_owned()),
        kind: UnitKind::Container,
    };
    assert_eq!(*unit, expected);
    assert_eq!(*hierarchy.unit_of(13).unwrap(), expected);
    assert_eq!(hierarchy.unit_of(12), None, "a pod alone is no unit");
    assert_eq!(hierarchy.unit_of(1), None);
}

/// Guarantees: the innermost container wins over a service inside of it and over the container around it, and where
/// the cgroups around are not known the container still is.
#[test]
fn nested_units() {
    let outer = format!("docker-{A}.scope");
    let inner = format!("cri-containerd-{B}.scope");
    let readings = [
        v2(1, 0, ""),
        v2(2, 1, "system.slice"),
        v2(3, 2, &outer),
        v2(4, 3, "kubelet.slice"),
        v2(5, 4, &inner),
        v2(6, 5, "nginx.service"),
        v2(7, 3, "kubelet.service"),
    ];
    let mut whole = of(&readings);
    assert_eq!(whole.unit_of(6).unwrap().cgroup_id, 5);
    assert_eq!(whole.unit_of(7).unwrap().cgroup_id, 3);
    let unit = of(&readings[4..]).unit_of(6).unwrap();
    assert_eq!((unit.path.as_str(), unit.kind), (inner.as_str(), UnitKind::Container));
    assert_eq!(unit.container_id, container::id_from_path(B));
}

/// Guarantees: outside of containers a service is the unit, the innermost of nested ones; else what has a limit of
/// its own; session scopes, slices, a user's whole session and the root are none.
#[test]
fn units_outside_of_containers() {
    let limited = |max, high| CgroupMemory { max, high, ..CgroupMemory::default() };
    let mut hierarchy = of(&[
        holding(CgroupMemory::default(), v2(1, 0, "")),
        v2(2, 1, "system.slice"),
        holding(limited(Some(MIB), None), v2(3, 2, "ssh.service")),
        v2(4, 3, "worker"),
        v2(5, 1, "user.slice"),
        v2(6, 5, "user@1000.service"),
        v2(7, 6, "app.slice"),
        v2(8, 7, "sync.service"),
        v2(9, 7, "shell.scope"),
        holding(limited(None, Some(MIB)), v2(10, 7, "batch.slice")),
        v2(11, 10, "job.scope"),
        holding(limited(Some(MIB), None), v2(12, 10, "big.scope")),
        v2(13, 5, "session-3.scope"),
    ]);
    let mut unit = |key| hierarchy.unit_of(key).map(|unit| (unit.cgroup_id, unit.kind));
    assert_eq!(unit(4), Some((3, UnitKind::Service)));
    assert_eq!(unit(8), Some((8, UnitKind::Service)));
    assert_eq!(unit(11), Some((10, UnitKind::Limited)));
    assert_eq!(unit(12), Some((12, UnitKind::Limited)));
    for none in [1, 2, 5, 6, 7, 9, 13] {
        assert_eq!(unit(none), None, "{none}");
    }
}

/// Guarantees: seen from inside of a container, its own cgroup is the topmost there is and has no name; its limit
/// makes it a unit all the same, and counts.
#[test]
fn the_topmost_that_can_be_seen() {
    let memory = CgroupMemory { usage: MIB, max: Some(4 * MIB), ..CgroupMemory::default() };
    let mut hierarchy = of(&[holding(memory, v2(7311, 0, ""))]);
    let unit = hierarchy.unit_of(7311).unwrap();
    assert_eq!((unit.path.as_str(), unit.kind), ("/", UnitKind::Limited));
    assert_eq!(hierarchy.limits_ahead(7311, 0)[0].room, 3 * MIB);
}

/// Guarantees: with the memory controller on v1, a v2 cgroup that has the id of a memory cgroup is told apart from
/// it, by its key and in all answers; a process in the memory root is placed by its v2 cgroup, any other by its
/// memory cgroup.
#[test]
fn two_trees_with_the_same_ids() {
    let docker = [v1(1, 0, ""), v1(35, 1, "docker"), v1(36, 35, A)];
    let systemd = [v2(1, 0, ""), v2(35, 1, "system.slice"), v2(36, 35, "ssh.service")];
    let mut hierarchy = of(&[docker, systemd].concat());
    let in_container = hierarchy.key_of(Some(1), Some(36)).unwrap();
    let in_service = hierarchy.key_of(Some(36), Some(1)).unwrap();
    assert_eq!(in_container, 36);
    let (container, service) = (hierarchy.unit_of(in_container), hierarchy.unit_of(in_service));
    let (container, service) = (container.unwrap(), service.unwrap());
    assert_eq!((container.cgroup_id, container.path.as_str()), (36, format!("/docker/{A}").as_str()));
    assert_eq!((service.cgroup_id, service.path.as_str()), (36, "/system.slice/ssh.service"));
    assert_ne!(container.key, service.key);
    assert!(hierarchy.memory(container.key).is_some());
    assert!(hierarchy.memory(service.key).is_none());
}

/// Guarantees: on a v2 host keys are the plain ids; a process is placed by its memory cgroup, and by its v2 cgroup
/// where no controller counts; one in the root is in the root; ids that no pass told of place nobody.
#[test]
fn keys() {
    let hierarchy = of(&kubernetes());
    assert_eq!(hierarchy.key_of(Some(14), Some(13)), Some(13));
    assert_eq!(hierarchy.key_of(Some(14), None), Some(14));
    assert_eq!(hierarchy.key_of(Some(14), Some(1)), Some(14));
    assert_eq!(hierarchy.key_of(Some(1), Some(1)), Some(1));
    assert_eq!(hierarchy.key_of(Some(99), Some(98)), None);
    assert_eq!(hierarchy.key_of(None, None), None);
}

/// Guarantees: in a container of its own namespaces on a hybrid host, a process in the topmost memory cgroup that can
/// be seen is placed by that, for it is not the root; where only its v2 cgroup can be seen, by that.
#[test]
fn keys_inside_of_a_container() {
    let hierarchy =
        of(&[v1(7311, 0, ""), v1(made_up_id("/"), 0, ""), v2(52, 0, ""), v2(53, 52, "init.scope")]);
    assert_eq!(hierarchy.key_of(Some(53), Some(7311)), Some(7311));
    let by_v2 = hierarchy.key_of(Some(53), Some(made_up_id("/"))).unwrap();
    assert_eq!(hierarchy.path(by_v2).as_deref(), Some("/init.scope"));
}

/// Guarantees: a cgroup of which only the path could be seen is a unit like any other.
#[test]
fn made_up_cgroups() {
    let (top, leaf) = (made_up_id("/.."), made_up_id("/../leaf"));
    let mut hierarchy = of(&[v2(top, 0, ".."), v2(leaf, top, &format!("crio-{A}.scope"))]);
    let key = hierarchy.key_of(None, Some(leaf)).unwrap();
    let unit = hierarchy.unit_of(key).unwrap();
    assert_eq!(unit.path, format!("/../crio-{A}.scope"));
    assert_eq!((unit.cgroup_id, unit.kind), (leaf, UnitKind::Container));
}

/// Guarantees: a full pass replaces all that was known, units included; a watched one changes what it tells of and
/// nothing else, and a cgroup that it adds is found.
#[test]
fn from_pass_to_pass() {
    let mut hierarchy = of(&kubernetes());
    assert!(hierarchy.unit_of(14).is_some());
    let seen = CgroupMemory { usage: 5, ..CgroupMemory::default() };
    hierarchy.some(&[holding(seen, v2(13, 12, A))]);
    assert_eq!(hierarchy.memory(13), Some(&seen));
    assert!(hierarchy.memory(12).is_none() && hierarchy.path(12).is_some());
    assert_eq!(hierarchy.unit_of(21), None);
    hierarchy.some(&[v2(20, 1, B), v2(21, 20, "x")]);
    assert_eq!(hierarchy.unit_of(21).unwrap().cgroup_id, 20);
    hierarchy.full(&[v2(1, 0, "")]);
    assert_eq!((hierarchy.unit_of(14), hierarchy.path(14), hierarchy.memory(13)), (None, None, None));
}

/// Guarantees: one unit is one allocation however often it is asked for within a pass.
#[test]
fn units_are_remembered() {
    let mut hierarchy = of(&kubernetes());
    let (first, again) = (hierarchy.unit_of(14).unwrap(), hierarchy.unit_of(14).unwrap());
    assert!(Arc::ptr_eq(&first, &again));
}

fn ahead(kind: LimitKind, cgroup_id: u64, limit: u64, room: u64) -> LimitAhead {
    LimitAhead { kind, cgroup_id, limit: limit * MIB, room: room * MIB, fresh: true }
}

/// A root with one cgroup in it, its numbers in MiB.
fn alone(usage: u64, file: u64, swap: u64, limits: CgroupMemory) -> Hierarchy {
    let memory = CgroupMemory { usage: usage * MIB, file: file * MIB, swap: swap * MIB, ..limits };
    of(&[v2(1, 0, ""), holding(memory, v2(2, 1, "a"))])
}

/// Guarantees: the room below memory.max counts file pages as free, and what may still be swapped out as room:
/// bounded by the host's free swap, by memory.swap.max less what is swapped, and by v1's limit on both together.
#[test]
fn the_room_below_max() {
    let max = |swap_max: Option<u64>, total_max: Option<u64>| CgroupMemory {
        max: Some(100 * MIB),
        swap_max: swap_max.map(|mib| mib * MIB),
        total_max: total_max.map(|mib| mib * MIB),
        ..CgroupMemory::default()
    };
    let nearest = |file, swap, limits, swap_free: u64| {
        alone(80, file, swap, limits).limits_ahead(2, swap_free * MIB)[0]
    };
    let at_max = |room| ahead(LimitKind::Max, 2, 100, room);
    assert_eq!(nearest(0, 0, max(None, None), 0), at_max(20));
    assert_eq!(nearest(30, 0, max(None, None), 0), at_max(50));
    assert_eq!(nearest(30, 0, max(None, None), 7), at_max(57));
    assert_eq!(nearest(30, 0, max(Some(0), None), 7), at_max(50));
    assert_eq!(nearest(30, 4, max(Some(10), None), 999), at_max(56));
    assert_eq!(nearest(30, 40, max(Some(10), None), 999), at_max(50));
    // memory and swap together: 200 - 50 kept - 4 swapped
    assert_eq!(nearest(30, 4, max(None, Some(200)), 999), ahead(LimitKind::Max, 2, 200, 146));
    assert_eq!(nearest(30, 4, max(None, Some(200)), 7), at_max(57));
    // a limit that has been lowered below what is held
    assert_eq!(
        nearest(0, 0, CgroupMemory { max: Some(MIB), ..max(None, None) }, 0),
        ahead(LimitKind::Max, 2, 1, 0)
    );
}

/// Guarantees: memory.high is a limit ahead without regard to swap, until it has been passed; without limits there
/// is none ahead.
#[test]
fn the_room_below_high() {
    let limits = CgroupMemory { max: Some(100 * MIB), high: Some(60 * MIB), ..CgroupMemory::default() };
    let nearest = |usage, limits| alone(usage, 10, 0, limits).limits_ahead(2, 5 * MIB).first().copied();
    assert_eq!(nearest(50, limits), Some(ahead(LimitKind::High, 2, 60, 20)));
    assert_eq!(nearest(70, limits), Some(ahead(LimitKind::Max, 2, 100, 45)));
    assert_eq!(nearest(70, CgroupMemory { max: None, ..limits }), None);
    assert_eq!(nearest(50, CgroupMemory::default()), None);
}

/// Guarantees: of the limits around a cgroup the one with the least room is the nearest, whoever has it, the inner
/// of equals; a swap limit further out holds for those inside as well.
#[test]
fn the_limits_around() {
    let memory = |usage: u64, max: Option<u64>, swap_max: Option<u64>| CgroupMemory {
        usage: usage * MIB,
        max: max.map(|mib| mib * MIB),
        swap_max: swap_max.map(|mib| mib * MIB),
        ..CgroupMemory::default()
    };
    let nearest = |pod: CgroupMemory, container: CgroupMemory, swap_free: u64| {
        let hierarchy = of(&[v2(1, 0, ""), holding(pod, v2(2, 1, "pod")), holding(container, v2(3, 2, "c"))]);
        hierarchy.limits_ahead(3, swap_free * MIB)[0]
    };
    let container = memory(10, Some(100), None);
    assert_eq!(nearest(memory(70, Some(120), None), container, 0), ahead(LimitKind::Max, 2, 120, 50));
    assert_eq!(nearest(memory(20, Some(120), None), container, 0), ahead(LimitKind::Max, 3, 100, 90));
    assert_eq!(nearest(memory(30, Some(120), None), container, 0), ahead(LimitKind::Max, 3, 100, 90));
    assert_eq!(nearest(memory(20, None, Some(5)), container, 50), ahead(LimitKind::Max, 3, 100, 95));
}

/// Guarantees: every limit around is told, the one with the least room first, memory.max behind memory.high; what a watched
/// pass has not told of is marked as older.
#[test]
fn all_limits_and_their_age() {
    let limited = |usage: u64, max: u64, high: Option<u64>| CgroupMemory {
        usage: usage * MIB,
        max: Some(max * MIB),
        high: high.map(|mib| mib * MIB),
        ..CgroupMemory::default()
    };
    let inner = |usage| holding(limited(usage, 100, Some(60)), v2(3, 2, "c"));
    let mut hierarchy = of(&[v2(1, 0, ""), holding(limited(70, 120, None), v2(2, 1, "pod")), inner(40)]);
    let told = |hierarchy: &Hierarchy| {
        let ahead = hierarchy.limits_ahead(3, 0);
        ahead.iter().map(|ahead| (ahead.limit / MIB, ahead.room / MIB, ahead.fresh)).collect::<Vec<_>>()
    };
    assert_eq!(told(&hierarchy), [(60, 20, true), (120, 50, true), (100, 60, true)]);
    hierarchy.some(&[inner(50)]);
    assert_eq!(told(&hierarchy), [(60, 10, true), (100, 50, true), (120, 50, false)]);
}

/// Guarantees: numbers that cannot be, such as more file pages than usage or sums beyond 64 bits, give an answer
/// within the range and no panic.
#[test]
fn impossible_numbers() {
    let wild = CgroupMemory {
        usage: 1,
        file: u64::MAX,
        swap: u64::MAX,
        max: Some(u64::MAX),
        high: Some(0),
        swap_max: Some(1),
        total_max: Some(u64::MAX),
        ..CgroupMemory::default()
    };
    let hierarchy = of(&[holding(wild, v2(2, 0, "a"))]);
    assert_eq!(hierarchy.limits_ahead(2, u64::MAX)[0].room, 0);
    let huge = CgroupMemory { max: Some(u64::MAX), ..CgroupMemory::default() };
    assert_eq!(of(&[holding(huge, v2(2, 0, "a"))]).limits_ahead(2, u64::MAX)[0].room, u64::MAX);
}
