//! Time that passes faster, to watch a week in minutes.

use crate::rules::{RuleSet, Strategy};

impl RuleSet {
    /// The same rules with every age and decay unit divided by `factor`, so that a week passes in
    /// minutes. Ages do not fall below 1 ms.
    #[must_use]
    pub fn accelerated(mut self, factor: u32) -> Self {
        let faster = |ms: &mut u64| *ms = (*ms / u64::from(factor.max(1))).max(1);
        for policy in self.policies.iter_mut().chain(&mut self.before) {
            policy
                .hot
                .iter_mut()
                .for_each(|hot| faster(&mut hot.max_age_ms));
            policy
                .warm
                .iter_mut()
                .for_each(|warm| faster(&mut warm.max_age_ms));
            let Some(cold) = &mut policy.cold else {
                continue;
            };
            cold.max_age_ms.iter_mut().for_each(faster);
            let rules = cold
                .sampling
                .iter_mut()
                .flat_map(|sampling| &mut sampling.rules);
            for sample in rules.filter_map(|rule| rule.sample.as_mut()) {
                if let Strategy::LogDecay { decay_unit_ms, .. } = &mut sample.strategy {
                    faster(decay_unit_ms);
                }
            }
        }
        self
    }
}
