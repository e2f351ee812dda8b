//! Processes that were looked at.

use serde::Serialize;

use super::cgroup_id;
use crate::investigate::report::Member;

#[derive(Serialize)]
pub(super) struct MemberObject<'a> {
    pid: u32,
    command: &'a str,
    executable: Option<&'a str>,
    runtime: &'static str,
    container_id: Option<&'a str>,
    cgroup_id: Option<u64>,
    probes: usize,
    allocators: &'a [String],
    placements: &'a [String],
    blind_spots: Vec<BlindSpotObject<'a>>,
    gone: bool,
    braked: bool,
}

impl<'a> MemberObject<'a> {
    pub(super) fn of(member: &'a Member) -> Self {
        let blind = member.blind_spots.iter();
        Self {
            pid: member.pid,
            command: &member.command,
            executable: member.executable.as_deref(),
            runtime: member.runtime.name(),
            container_id: member.container_id.as_deref(),
            cgroup_id: cgroup_id(member),
            probes: member.probes,
            allocators: &member.allocators,
            placements: &member.placements,
            blind_spots: blind
                .map(|spot| BlindSpotObject { what: &spot.what, reason: &spot.reason })
                .collect(),
            gone: member.gone,
            braked: member.braked,
        }
    }
}

#[derive(Serialize)]
struct BlindSpotObject<'a> {
    what: &'a str,
    reason: &'a str,
}
