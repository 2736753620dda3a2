//! Requests that begin no recorded trace: health probes, and paths of the user's choice.
//!
//! They are decided as an unlucky sample is: the service gets a context that is not sampled, so
//! that its work for a probe makes no spans either, and the correlator knows that it is at work.
//! A request that carries a sampling decision keeps it.

use throughline_model::context::Carrier;

use super::request::{HttpRequestHead, header_text};
use super::route::RouteTemplate;
use super::url::split_target;

/// Paths that health probes use and hardly anything else does, with everything below them:
/// Kubernetes' own endpoints, and Spring's.
const PROBE_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/actuator/health"];

/// The health service of gRPC (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Beginnings of the user agents of health checkers and of Prometheus.
const PROBE_AGENTS: [&str; 6] = [
    "kube-probe/",
    "GoogleHC/",
    "ELB-HealthChecker/",
    "Envoy/HC",
    "Consul Health Check",
    "Prometheus/",
];

/// Inbound requests that begin no recorded trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredRequests {
    /// Whether health probes are recognized by their paths and user agents.
    pub probes: bool,
    /// Further paths.
    pub paths: Vec<RouteTemplate>,
}

// === impl IgnoredRequests ===

impl Default for IgnoredRequests {
    fn default() -> Self {
        Self {
            probes: true,
            paths: Vec::new(),
        }
    }
}

impl IgnoredRequests {
    /// Returns whether a request is ignored.
    pub(super) fn contains(
        &self,
        request: &HttpRequestHead<'_>,
        headers: &(impl Carrier + ?Sized),
    ) -> bool {
        let (path, _) = split_target(request.target);
        (self.probes && is_probe(path, headers))
            || self.paths.iter().any(|template| template.matches(path))
    }
}

fn is_probe(path: &str, headers: &(impl Carrier + ?Sized)) -> bool {
    let is_below = |probe: &str| {
        path.strip_prefix(probe)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path.starts_with(GRPC_HEALTH)
        || PROBE_PATHS.iter().any(|probe| is_below(probe))
        || header_text(headers, "user-agent")
            .is_some_and(|agent| PROBE_AGENTS.iter().any(|probe| agent.starts_with(*probe)))
}

#[cfg(test)]
mod tests {
    use throughline_model::context::HeaderList;

    use super::*;

    fn is_ignored(ignored: &IgnoredRequests, target: &str, agent: &str) -> bool {
        let request = HttpRequestHead {
            method: "GET",
            scheme: "http",
            authority: "shop",
            target,
            version: "1.1",
            body: None,
        };
        let mut headers = HeaderList::default();
        headers.push("User-Agent", agent.as_bytes());
        ignored.contains(&request, &headers)
    }

    #[test]
    fn probes_are_recognized_by_path_and_agent() {
        let ignored = IgnoredRequests::default();
        for (target, agent, expected) in [
            ("/healthz", "curl/8", true),
            ("/readyz/ping?verbose", "", true),
            ("/actuator/health/liveness", "", true),
            ("/grpc.health.v1.Health/Check", "grpc-go/1.70", true),
            ("/", "kube-probe/1.34", true),
            ("/metrics", "Prometheus/3.1.0", true),
            ("/healthzy", "", false),
            ("/health", "", false),
            ("/checkout", "curl/8", false),
        ] {
            assert_eq!(
                is_ignored(&ignored, target, agent),
                expected,
                "{target} {agent}"
            );
        }
    }

    #[test]
    fn paths_are_added_to_the_probes_or_replace_them() {
        let ignored = IgnoredRequests {
            probes: false,
            paths: vec![RouteTemplate::new("/internal/*")],
        };
        assert!(is_ignored(&ignored, "/internal/a?b", ""));
        assert!(!is_ignored(&ignored, "/healthz", "kube-probe/1.34"));
    }
}
