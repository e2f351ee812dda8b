//! The process or container a finding is about, and the Resource it becomes.

use std::sync::Arc;
use std::time::SystemTime;

use mlh_targets::cgroup_reading::is_made_up;
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attributes::Attributes;
use super::clock::{epoch_nanos, from_nanos};
use super::host::HostIdentity;
use crate::semconv;

/// What is known of an observed process, or of a container and the process in it that grew most. What could not be
/// learnt is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The process as the newest pass saw it; pid 0 where none was seen, or the sidecar's pid namespace has none for it.
    pub reading: ProcessReading,
    /// Full path of the executable.
    pub executable_path: Option<String>,
    /// Id of its container, in full.
    pub container_id: Option<String>,
    /// Uid of its pod.
    pub pod_uid: Option<String>,
    /// Path of its cgroup, from the root of the hierarchy; of a container that of the whole container.
    pub cgroup_path: Option<String>,
    /// The executable's GNU build id, hexadecimal.
    pub build_id: Option<String>,
    /// When it was started.
    pub created: Option<SystemTime>,
    /// The host name in its UTS namespace: in a pod usually the pod's name.
    pub node_name: Option<String>,
    /// Path of the cgroup whose limit the finding speaks of.
    pub limit_path: Option<String>,
}

/// Processes that are looked at, by pid.
pub type KnownSubjects = Vec<(u32, Arc<Subject>)>;

impl Subject {
    /// The name people know the program by: its executable's base name, else its command, else `unknown`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.known_name().unwrap_or("unknown")
    }

    fn known_name(&self) -> Option<&str> {
        let executable = self.executable_path.as_deref().unwrap_or(&self.reading.executable);
        // An upgrade replaces the file of a running program; the kernel then adds this to its path.
        let executable = executable.strip_suffix(" (deleted)").unwrap_or(executable);
        let base = executable.rsplit('/').next().unwrap_or_default();
        [base, &self.reading.comm].into_iter().find(|name| !name.is_empty())
    }

    /// Its pid, where it has one here.
    pub(super) fn pid(&self) -> Option<u64> {
        (self.reading.pid != 0).then(|| u64::from(self.reading.pid))
    }

    /// Its v2 cgroup. An id that was made up for want of a real one means nothing to others.
    pub(crate) fn cgroup_id(&self) -> Option<u64> {
        self.reading.cgroup_id.filter(|id| !is_made_up(*id))
    }

    /// The cgroup that its memory is charged to.
    pub(super) fn memory_cgroup_id(&self) -> Option<u64> {
        self.reading.memory_cgroup_id.filter(|id| !is_made_up(*id))
    }

    /// One Resource for each observed process or container. The command's arguments stay out: they hold secrets.
    pub(super) fn resource(&self, host: &HostIdentity) -> Resource {
        let pid = self.reading.pid;
        let differs = |other: Option<u32>| other.filter(|other| *other != pid).map(u64::from);
        let mut attributes = Attributes::default();
        // A `resource` processor replaces it where the service is known by another name.
        attributes.text(semconv::SERVICE_NAME, self.known_name().unwrap_or(semconv::UNKNOWN_SERVICE));
        attributes.text_if(semconv::CONTAINER_ID, self.container_id.as_deref());
        for (key, value) in host.attributes() {
            attributes.text(key, value);
        }
        match (&host.pod, &self.pod_uid) {
            // Name and namespace are the sidecar's own: they hold for its neighbours in the same pod alone.
            (Some(own), Some(uid)) if own.uid == *uid => {
                for (key, value) in own.attributes() {
                    attributes.text(key, value);
                }
            }
            (_, uid) => attributes.text_if(semconv::K8S_POD_UID, uid.as_deref()),
        }
        attributes.text_if(semconv::NODE_NAME, self.node_name.as_deref());
        attributes.integer_if(semconv::PROCESS_PID, self.pid());
        attributes.integer_if(semconv::PROCESS_HOST_PID, differs(self.reading.host_pid));
        attributes.integer_if(semconv::PROCESS_VPID, differs(self.reading.own_pid));
        attributes.text_if(semconv::PROCESS_EXECUTABLE_NAME, self.known_name());
        attributes.text_if(semconv::PROCESS_EXECUTABLE_PATH, self.executable_path.as_deref());
        attributes.text_if(
            semconv::PROCESS_CREATION_TIME,
            self.created
                .map(|at| humantime::format_rfc3339_millis(from_nanos(epoch_nanos(at))).to_string())
                .as_deref(),
        );
        attributes.text_if(semconv::PROCESS_LINUX_CGROUP, self.cgroup_path.as_deref());
        attributes.text_if(semconv::PROCESS_EXECUTABLE_BUILD_ID_GNU, self.build_id.as_deref());
        Resource { attributes: attributes.into(), ..Resource::default() }
    }
}
