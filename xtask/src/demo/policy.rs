//! The retention policy of the demo: a few days, which pass in a minute.

pub(super) const SENTENCE: &str = "\
time runs 3600 times faster: hot keeps 15 h (15 s), warm 40 h (40 s), cold everything;
errors, interventions and files are all kept, output is sampled at 1/log2(h+2)";

pub(super) const YAML: &str = r#"apiVersion: isotherm.dev/v1alpha1
kind: RetentionPolicy
metadata:
  name: demo
  namespace: isotherm
spec:
  priority: 10
  tiers:
    hot: {maxAge: 15h, maxEventsPerStream: 100000}
    warm: {maxAge: 40h}
    cold:
      maxAge: Forever
      sampling:
        rules:
        - name: keep-what-matters
          eventTypes: ["error*", "intervention", "file.created", "file_created"]
          action: Keep
        - name: thin-out-output
          eventTypes: ["output.*"]
          action: Sample
          sample: {strategy: LogDecay, decayUnit: 1h, minPercent: 1}
        defaultAction: Keep
"#;
