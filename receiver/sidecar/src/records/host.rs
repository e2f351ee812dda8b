//! The host and pod this sidecar runs on.

use crate::semconv;

/// Who the host is, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostIdentity {
    /// `host.name`.
    pub name: Option<String>,
    /// `host.id`.
    pub id: Option<String>,
    /// `k8s.node.name`.
    pub node_name: Option<String>,
    /// The pod the sidecar itself runs in.
    pub pod: Option<OwnPod>,
}

/// The sidecar's own pod, told by the downward API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// `k8s.pod.uid`.
    pub uid: String,
    /// `k8s.pod.name`.
    pub name: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
}

impl HostIdentity {
    /// Asks the host and the environment. The variables are filled by Kubernetes' downward API: `K8S_NODE_NAME`
    /// (or `NODE_NAME`), `K8S_POD_UID`, `K8S_POD_NAME`, `K8S_NAMESPACE_NAME`.
    #[must_use]
    pub fn discover() -> Self {
        let host = mlh_targets::host::HostIdentity::read();
        Self::from_parts(|name| std::env::var(name).ok(), host.name, host.id)
    }

    fn from_parts(
        variable: impl Fn(&str) -> Option<String>,
        hostname: Option<String>,
        id: Option<String>,
    ) -> Self {
        let variable = |name| variable(name).and_then(trimmed);
        let node_name = variable("K8S_NODE_NAME").or_else(|| variable("NODE_NAME"));
        Self {
            // In a pod the host name that the kernel tells is the pod's; the node's name is the host's.
            name: node_name.clone().or_else(|| hostname.and_then(trimmed)),
            id: id.and_then(trimmed),
            node_name,
            pod: variable("K8S_POD_UID").map(|uid| OwnPod {
                uid,
                name: variable("K8S_POD_NAME"),
                namespace: variable("K8S_NAMESPACE_NAME"),
            }),
        }
    }

    /// The attributes that hold for everything on this host.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            (semconv::HOST_NAME, &self.name),
            (semconv::HOST_ID, &self.id),
            (semconv::K8S_NODE_NAME, &self.node_name),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

impl OwnPod {
    /// The attributes that hold for what runs in this very pod, and for nothing else.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            (semconv::K8S_POD_UID, Some(&self.uid)),
            (semconv::K8S_POD_NAME, self.name.as_ref()),
            (semconv::K8S_NAMESPACE_NAME, self.namespace.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?.as_str())))
    }
}

fn trimmed(text: impl AsRef<str>) -> Option<String> {
    let text = text.as_ref().trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovered(variables: &[(&str, &str)], hostname: &str, id: &str) -> HostIdentity {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        HostIdentity::from_parts(variable, Some(hostname.to_owned()), Some(id.to_owned()))
    }

    /// Guarantees: on a plain host the kernel's host name and id name the host, with no k8s attribute.
    #[test]
    fn a_plain_host() {
        let host = discovered(&[], "db-7\n", "0123456789abcdef0123456789abcdef\n");
        let attributes: Vec<_> = host.attributes().collect();
        assert_eq!(
            attributes,
            [(semconv::HOST_NAME, "db-7"), (semconv::HOST_ID, "0123456789abcdef0123456789abcdef")]
        );
        assert_eq!(host.pod, None);
    }

    /// Guarantees: in a pod the node's name, not the pod's host name, is the host's, under either variable; the
    /// pod is known by its uid only.
    #[test]
    fn in_a_pod() {
        let host = discovered(
            &[
                ("K8S_NODE_NAME", "node-1"),
                ("NODE_NAME", "other"),
                ("K8S_POD_UID", "u-1"),
                ("K8S_POD_NAME", "mlh-x"),
            ],
            "mlh-x",
            " \n",
        );
        let attributes: Vec<_> = host.attributes().collect();
        assert_eq!(attributes, [(semconv::HOST_NAME, "node-1"), (semconv::K8S_NODE_NAME, "node-1")]);
        let pod: Vec<_> = host.pod.as_ref().unwrap().attributes().collect();
        assert_eq!(pod, [(semconv::K8S_POD_UID, "u-1"), (semconv::K8S_POD_NAME, "mlh-x")]);
        assert_eq!(discovered(&[("NODE_NAME", "n2")], "", "").node_name.as_deref(), Some("n2"));
        assert_eq!(
            discovered(&[("K8S_POD_NAME", "mlh-x")], "", "").pod,
            None,
            "a pod without uid cannot be compared"
        );
    }
}
