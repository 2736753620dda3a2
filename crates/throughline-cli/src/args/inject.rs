//! Arguments of `throughline inject`, and the settings of injected pods that it shares with
//! `throughline webhook`.

use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline inject < eshop.yaml | kubectl apply -f -
      Add the sidecar to every pod of a manifest.
  helm template shop ./chart | throughline inject --collector http://otel.monitoring:4318 > all.yaml
      Add it to a rendered chart; spans go to another collector.

Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Lists of them get the
sidecar; every other document passes unchanged. A pod that has the sidecar already gets the present
one in its place, so the command may run again on its own output. Comments inside a changed
document are lost.

Annotations of a pod (of the template, in a workload):
  throughline.dev/inject: \"false\"      leave this pod alone
  throughline.dev/service: billing     name of the service; by default app.kubernetes.io/name, app,
                                       or the name of the workload
  throughline.dev/exclude-outbound, exclude-inbound, exclude-networks: options of throughline init
  throughline.dev/image, image-pull-policy, resources, volume-mounts: the sidecar's container
  throughline.dev/inject-batches: the sidecar's --inject
  throughline.dev/OPTION: any other option of throughline sidecar, such as sample: \"0.1\"
docs/kubernetes.md describes them.";

const POD: &str = "Injected pods";

/// Arguments of `throughline inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct InjectArgs {
    /// Manifest: YAML with any number of documents, or JSON; - for stdin
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) pod: InjectedPodArgs,
}

/// Settings of injected pods, each of which an annotation of the pod overrides.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InjectedPodArgs {
    /// Image of the sidecar and of the container that redirects connections to it
    #[arg(
        long,
        env = "THROUGHLINE_INJECT_IMAGE",
        default_value = concat!("throughline:", env!("CARGO_PKG_VERSION")),
        value_name = "IMAGE",
        help_heading = POD
    )]
    pub(crate) image: String,

    /// When the image is pulled: Always, IfNotPresent or Never
    #[arg(
        long,
        env = "THROUGHLINE_INJECT_IMAGE_PULL_POLICY",
        default_value = "IfNotPresent",
        value_name = "POLICY",
        help_heading = POD
    )]
    pub(crate) image_pull_policy: String,

    /// OTLP/HTTP endpoint for the spans. The default is the collector of the Helm chart
    #[arg(
        long,
        env = "THROUGHLINE_INJECT_COLLECTOR",
        default_value = "http://throughline-collector.throughline:4318",
        value_name = "URL",
        help_heading = POD
    )]
    pub(crate) collector: String,

    /// Resources of the sidecar, as a YAML map in the form of Kubernetes
    #[arg(
        long,
        env = "THROUGHLINE_INJECT_RESOURCES",
        default_value = "{requests: {cpu: 10m, memory: 64Mi}, limits: {memory: 512Mi}}",
        value_name = "YAML",
        help_heading = POD
    )]
    pub(crate) resources: String,

    /// Further option of the sidecar in every pod, such as sample=0.1; repeatable
    #[arg(
        long,
        env = "THROUGHLINE_INJECT_OPTION",
        value_delimiter = ';',
        value_name = "NAME=VALUE",
        help_heading = POD
    )]
    pub(crate) option: Vec<String>,
}
