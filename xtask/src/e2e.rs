//! The product on a real Kubernetes: on the cluster that `$KUBECONFIG` names, else on kind where
//! Docker runs, else on one node that is built and started here.

pub(crate) mod buildah;
mod cgroup;
mod kind;
pub(crate) mod node;
mod own;
mod programs;
mod suite;

use std::path::PathBuf;

use anyhow::ensure;

use crate::{image, run::step, setup};
use kind::Kind;
use own::OwnCluster;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave the cluster, and what the scenarios made in it.
    #[arg(long)]
    keep: bool,
    /// The image to test on the cluster of $KUBECONFIG, which must be able to pull it.
    #[arg(long, value_name = "REPOSITORY:TAG")]
    image: Option<String>,
    /// Scenarios whose names contain one of these; all of them without.
    scenarios: Vec<String>,
}

/// Where the scenarios run.
#[derive(Debug)]
pub(crate) enum Cluster {
    Given,
    Kind(Kind),
    Own(OwnCluster),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    step("setup", || {
        setup::run()?;
        setup::for_clusters()
    })?;
    let cluster = Cluster::find(args)?;
    let result = suite::run(args, &cluster);
    match cluster {
        Cluster::Own(cluster) if args.keep => cluster.leave(),
        Cluster::Kind(cluster) if args.keep => cluster.leave(),
        // Before the exit status: an exit drops nothing.
        cluster => step("end the cluster", || {
            drop(cluster);
            Ok(())
        })?,
    }
    crate::test::conclude(result?)
}

impl Cluster {
    fn find(args: &Args) -> anyhow::Result<Self> {
        if std::env::var_os("KUBECONFIG").is_some() {
            ensure!(
                args.image.is_some(),
                "KUBECONFIG names a cluster: push an image that it can pull and name it with --image"
            );
            return Ok(Self::Given);
        }
        own::sweep()?;
        if Kind::is_possible() {
            return step("start kind", || {
                let kind = Kind::start()?;
                kind.load(&images()?.1)?;
                Ok(Self::Kind(kind))
            });
        }
        let (_scratch, archives) = images()?;
        let own = step("start the cluster", || OwnCluster::start(args.keep))?;
        step("import the images", || {
            archives.iter().try_for_each(|archive| own.import(archive))
        })?;
        Ok(Self::Own(own))
    }
}

/// The folder has to live as long as the archives are wanted.
fn images() -> anyhow::Result<(image::Scratch, Vec<PathBuf>)> {
    let scratch = image::Scratch::new()?;
    let archives = image::all(&scratch, "image")?;
    Ok((scratch, archives))
}
