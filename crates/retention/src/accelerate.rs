//! The time scale: ages divided by a factor, for demos and tests.

use crate::rules::{RuleSet, Strategy};

impl RuleSet {
    /// Divides every age and decay unit by `factor`. Ages do not fall below 1 ms; a factor of 0 counts
    /// as 1.
    #[must_use]
    pub fn accelerated(mut self, factor: u32) -> Self {
        let divide = |ms: &mut u64| *ms = (*ms / u64::from(factor.max(1))).max(1);
        for policy in self.policies.iter_mut().chain(&mut self.before) {
            policy
                .hot
                .iter_mut()
                .for_each(|hot| divide(&mut hot.max_age_ms));
            policy
                .warm
                .iter_mut()
                .for_each(|warm| divide(&mut warm.max_age_ms));
            let Some(cold) = &mut policy.cold else {
                continue;
            };
            cold.max_age_ms.iter_mut().for_each(divide);
            let rules = cold
                .sampling
                .iter_mut()
                .flat_map(|sampling| &mut sampling.rules);
            for sample in rules.filter_map(|rule| rule.sample.as_mut()) {
                if let Strategy::LogDecay { decay_unit_ms, .. } = &mut sample.strategy {
                    divide(decay_unit_ms);
                }
            }
        }
        self
    }
}
