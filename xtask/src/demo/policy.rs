//! The retention policies of the demo: the default example, with days of hot and warm that pass in a
//! minute.

use std::fs;

use anyhow::Context as _;

use crate::run;

/// Declares the sampling. Without it nothing would be thinned: the built-in policy keeps everything.
const EXAMPLE: &str = "crds/examples/default.yaml";

pub(super) const SENTENCE: &str = "\
time runs 3600 times faster: hot keeps 15 h (15 s), warm 40 h (40 s), cold everything that
crds/examples/default.yaml, which is applied here, does not thin out: errors, interventions and
files are all kept, output is sampled at 1/log2(h+2); without a policy every event is kept";

/// Leaves the cold tier to the example, which ranks lower.
const AGES: &str = "---
apiVersion: isotherm.dev/v1alpha1
kind: RetentionPolicy
metadata:
  name: demo
  namespace: isotherm
spec:
  priority: 10
  tiers:
    hot: {maxAge: 15h, maxEventsPerStream: 100000}
    warm: {maxAge: 40h}
";

/// Returns the YAML of both policies.
pub(super) fn yaml() -> anyhow::Result<String> {
    let example = fs::read_to_string(run::root().join(EXAMPLE));
    let example = example.with_context(|| format!("read {EXAMPLE}"))?;
    Ok(example + AGES)
}
