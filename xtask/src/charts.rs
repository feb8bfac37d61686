//! Checks the charts without a cluster: lints them, renders them with every values file in `ci/` by
//! Helm 4 and by Helm 3, and validates the result against the schemas of every supported Kubernetes.
//! The rendering of `profile: dev` is kept in a file, so that a review shows what changes.

mod docs;
mod refusals;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, bail};

use crate::{
    run::{self, step},
    setup,
};

const CHARTS: [&str; 2] = ["charts/isotherm-crds", "charts/isotherm"];
const KUBERNETES_VERSIONS: [&str; 5] = ["1.33", "1.34", "1.35", "1.36", "1.37"];
const ADMISSION_API: &str = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";
const SNAPSHOT: &str = "charts/isotherm/ci/dev.rendered";
/// What the scenarios on a cluster install with: a value that the chart refuses shows here, long before them.
const SCENARIO_VALUES: &str = "e2e/tests/cluster/values.yaml";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write the current rendering as the expected one.
    #[arg(long)]
    accept: bool,
}

/// One rendering: a chart and a values file.
#[derive(Debug)]
struct Case {
    chart: &'static str,
    values: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    step("setup", || {
        setup::for_clusters()?;
        tools::install()
    })?;
    let scratch = run::root().join("target/charts");
    fs::create_dir_all(&scratch)?;
    let cases = cases()?;
    step("lint the charts", || cases.iter().try_for_each(lint))?;
    let rendered = step("render the charts", || render(&cases, &scratch))?;
    step("check that bad values are refused", refusals::check)?;
    step("check that every value and alert is described", docs::check)?;
    step("validate the rendered charts", || validate(&rendered))?;
    step("compare with the snapshot", || {
        compare_snapshot(&scratch, args.accept)
    })
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for chart in CHARTS {
        let folder = run::root().join(chart).join("ci");
        let files = fs::read_dir(&folder).into_iter().flatten();
        let mut files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        });
        files.sort();
        if files.is_empty() {
            cases.push(Case {
                chart,
                values: None,
            });
        }
        let more = files.into_iter().map(|file| Case {
            chart,
            values: Some(file),
        });
        cases.extend(more);
    }
    cases.push(Case {
        chart: "charts/isotherm",
        values: Some(run::root().join(SCENARIO_VALUES)),
    });
    Ok(cases)
}

impl Case {
    fn name(&self) -> String {
        let chart = self
            .chart
            .rsplit('/')
            .next()
            .expect("a path has a last part");
        let values = self.values.as_deref().and_then(Path::file_stem);
        format!(
            "{chart}-{}",
            values.unwrap_or("defaults".as_ref()).display()
        )
    }

    fn command(&self, helm: &Path, verb: &[&str]) -> Command {
        let mut command = Command::new(helm);
        command.args(verb).arg(self.chart).current_dir(run::root());
        if let Some(values) = &self.values {
            command.arg("--values").arg(values);
        }
        command
    }
}

fn lint(case: &Case) -> anyhow::Result<()> {
    let command = case.command(&tools::helm4(), &["lint", "--strict", "--quiet"]);
    run::output(command).with_context(|| case.name()).map(drop)
}

/// Renders by both Helms, which must agree, with and without the optional APIs.
fn render(cases: &[Case], scratch: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for case in cases {
        for (suffix, api) in [("", ""), ("-monitored", "monitoring.coreos.com/v1")] {
            let mut rendered = Vec::new();
            for helm in [tools::helm4(), tools::helm3()] {
                let verb = [
                    "template",
                    "isotherm",
                    "--namespace",
                    "isotherm",
                    "--kube-version",
                    "1.35",
                ];
                let mut command = case.command(&helm, &verb);
                if !api.is_empty() {
                    command.args(["--api-versions", api]);
                    // Every supported Kubernetes has it; Helm knows that only of a cluster.
                    command.args(["--api-versions", ADMISSION_API]);
                }
                let output = run::output(command).with_context(|| case.name())?;
                rendered.push(without_blank_lines(&output));
            }
            let name = format!("{}{suffix}", case.name());
            if rendered[0] != rendered[1] {
                bail!("Helm 3 renders {name} unlike Helm 4");
            }
            let file = scratch.join(format!("{name}.yaml"));
            fs::write(&file, &rendered[0])?;
            // The rendering with the operator's resources includes the other one.
            if !api.is_empty() {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Drops blank lines, in which Helm 3 and Helm 4 differ.
fn without_blank_lines(rendered: &[u8]) -> String {
    let text = String::from_utf8_lossy(rendered);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Validates against all versions in parallel: each spends most of its time loading schemas.
fn validate(files: &[PathBuf]) -> anyhow::Result<()> {
    let errors: Vec<String> = thread::scope(|scope| {
        let checks = KUBERNETES_VERSIONS.map(|version| {
            scope.spawn(move || {
                let mut command = tools::kubernetes_validate();
                // `--no-warn`: custom resources have no schema there.
                command.args(["--strict", "--quiet", "--no-warn"]);
                command.args(["--kubernetes-version", version]).args(files);
                run::output(command).with_context(|| format!("Kubernetes {version}"))
            })
        });
        let results = checks.map(|check| check.join().expect("a check does not panic"));
        results
            .into_iter()
            .filter_map(|result| result.err().map(|error| format!("{error:#}")))
            .collect()
    });
    if errors.is_empty() {
        return Ok(());
    }
    bail!("{}", errors.join("\n"))
}

fn compare_snapshot(scratch: &Path, accept: bool) -> anyhow::Result<()> {
    let rendered = fs::read_to_string(scratch.join("isotherm-dev.yaml"))?;
    let file = run::root().join(SNAPSHOT);
    if accept {
        return Ok(fs::write(file, rendered)?);
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if rendered == expected {
        return Ok(());
    }
    let line = rendered
        .lines()
        .zip(expected.lines())
        .position(|(now, before)| now != before);
    bail!(
        "profile: dev no longer renders as {SNAPSHOT} says (first difference in line {}): look at the difference \
         after `cargo xtask charts --accept`",
        line.unwrap_or_else(|| rendered.lines().count().min(expected.lines().count())) + 1
    )
}
