//! Runs the scenarios on a real Kubernetes: the cluster of `$KUBECONFIG`, else kind where Docker runs,
//! else one node that is built and started here.

mod cgroup;
mod kind;
mod machine;
pub(crate) mod node;
mod own;
mod programs;
mod suite;

use std::path::PathBuf;

use anyhow::ensure;

use crate::{image, run::step, setup, test::Summary};
use kind::Kind;
use own::OwnCluster;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave the cluster running, with everything that the scenarios made in it.
    #[arg(long)]
    keep: bool,
    /// The image to test on the cluster of $KUBECONFIG, which must be able to pull it.
    #[arg(long, value_name = "REPOSITORY:TAG")]
    image: Option<String>,
    /// Run only scenarios whose names contain one of these.
    scenarios: Vec<String>,
}

/// The cluster on which the scenarios run.
#[derive(Debug)]
pub(crate) enum Cluster {
    External,
    Kind(Kind),
    Own(OwnCluster),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    require(args)?;
    crate::test::conclude(all(args)?)
}

/// Checks what the cluster needs, before the long steps.
pub(crate) fn require(args: &Args) -> anyhow::Result<()> {
    if std::env::var_os("KUBECONFIG").is_some() {
        ensure!(
            args.image.is_some(),
            "KUBECONFIG names a cluster: push an image that it can pull and name it with --image"
        );
        return Ok(());
    }
    match Kind::is_possible() {
        true => machine::require_for_images(),
        false => machine::require(),
    }
}

/// Finds or starts a cluster, and runs the scenarios on it.
pub(crate) fn all(args: &Args) -> anyhow::Result<Summary> {
    step("setup", || {
        setup::run()?;
        setup::for_clusters()
    })?;
    let scenarios = step("build the programs and the scenarios", suite::build)?;
    let cluster = Cluster::find(args)?;
    let result = suite::run(args, &cluster, &scenarios);
    match cluster {
        Cluster::Own(cluster) if args.keep => cluster.leave(),
        Cluster::Kind(cluster) if args.keep => cluster.leave(),
        // Dropped here: `std::process::exit` runs no destructors.
        cluster => step("end the cluster", || {
            drop(cluster);
            Ok(())
        })?,
    }
    result
}

impl Cluster {
    fn find(args: &Args) -> anyhow::Result<Self> {
        if std::env::var_os("KUBECONFIG").is_some() {
            return Ok(Self::External);
        }
        own::remove_leftovers()?;
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

/// Builds the images; their archives are in the scratch folder, which is removed on drop.
fn images() -> anyhow::Result<(image::Scratch, Vec<PathBuf>)> {
    let scratch = image::Scratch::new()?;
    let archives = image::all(&scratch)?;
    Ok((scratch, archives))
}
