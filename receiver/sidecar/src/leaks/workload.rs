//! What a container is a part of, by a name that a restart does not change.

/// Letters and digits that Kubernetes makes names up from: no vowels, so that no words come of it.
const MADE_UP: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The workload of a pod, from the pod's name, without what tells its pods apart: `api-7d9f8b6c5-x2k4z` and `api-0` are `api`.
/// `None` where nothing is left, as of a name that is a container's id.
pub(super) fn of_pod(name: &str) -> Option<&str> {
    let ends_with = |name: &str, lengths: std::ops::RangeInclusive<usize>| {
        let end = name.rsplit('-').next().unwrap_or_default();
        lengths.contains(&end.len()) && end.chars().all(|char| MADE_UP.contains(char))
    };
    let before = |name| str::rsplit_once(name, '-').map(|(before, _)| before);
    let workload = match before(name) {
        // a pod's own five, behind its replica set's, which is as long as its hash
        Some(set) if ends_with(name, 5..=5) => match before(set) {
            Some(deployment) if ends_with(set, 6..=10) => deployment,
            _ => set,
        },
        Some(set) if name.rsplit('-').next().is_some_and(is_number) => set,
        _ => name,
    };
    let is_id = workload.len() >= 12 && workload.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!workload.is_empty() && !is_id).then_some(workload)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: pods of one `Deployment`, `StatefulSet` or `DaemonSet` have one name, whatever the others are called; what people
    /// named stays, and a container's id is no name.
    #[test]
    fn pods() {
        for (name, workload) in [
            ("api-7d9f8b6c5-x2k4z", Some("api")),
            ("shop-api-v2-6c8d7f9b54-9qz2x", Some("shop-api-v2")),
            ("db-0", Some("db")),
            ("db-12", Some("db")),
            ("node-exporter-b5xkq", Some("node-exporter")),
            ("web-shop", Some("web-shop")),
            ("web", Some("web")),
            ("4f1e5c9ab012", None),
            ("-0", None),
            ("", None),
        ] {
            assert_eq!(of_pod(name), workload, "{name}");
        }
    }
}
