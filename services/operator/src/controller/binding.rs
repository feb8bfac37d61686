//! Where several namespaces are watched: the tenants that a policy may select, by the TenantBinding of
//! its namespace, and the fields that only policies of the operator's own namespace may set. Pure.

use k8s_api::{RetentionPolicy, TenantBinding, condition as c};

use super::read::{Policies, RefusedPolicy};

/// Why a policy is ignored: the reason and the message of `Accepted`.
type Refusal = (&'static str, String);

impl Policies {
    /// Narrows each valid policy to the tenants that `bindings` bind to its namespace, and refuses those
    /// that ask for more.
    pub(crate) fn bound_by(
        mut self,
        bindings: &[TenantBinding],
        own_namespace: &str,
        max_priority: i32,
    ) -> Self {
        for policy in std::mem::take(&mut self.valid) {
            let bound = reserved(&policy, own_namespace, max_priority)
                .map_or_else(|| bind(&policy, bindings), Err);
            match bound {
                Ok(policy) => self.valid.push(policy),
                Err((reason, message)) => self.refused.push(RefusedPolicy {
                    metadata: policy.metadata,
                    status: policy.status,
                    reason,
                    message,
                }),
            }
        }
        self
    }
}

fn bind(policy: &RetentionPolicy, bindings: &[TenantBinding]) -> Result<RetentionPolicy, Refusal> {
    let namespace = policy.namespace();
    let binding = bindings
        .iter()
        .find(|binding| binding.namespace_name() == namespace);
    let Some(binding) = binding else {
        let message = format!(
            "there is no TenantBinding {namespace}, so policies of this namespace select no tenant: \
             have it created with the tenants of this namespace"
        );
        return Err((c::NAMESPACE_NOT_BOUND, message));
    };
    binding.narrow(policy).map_err(|outside| {
        let message = format!(
            "spec.selector.tenants: {} may select more than TenantBinding {namespace} allows, \
             which is {}",
            outside.join(", "),
            binding.spec.tenants.join(", ")
        );
        (c::TENANT_NOT_BOUND, message)
    })
}

/// Returns a refusal if the policy is of another namespace and sets what concerns all tenants.
fn reserved(policy: &RetentionPolicy, own_namespace: &str, max_priority: i32) -> Option<Refusal> {
    let priority = policy.spec.priority;
    let message = if policy.namespace() == own_namespace {
        return None;
    } else if priority > max_priority {
        format!(
            "spec.priority is {priority}: outside the namespace {own_namespace} at most \
             {max_priority}, the operator's --max-priority"
        )
    } else if policy.spec.archive.is_some() {
        format!(
            "spec.archive is of the one archiver of all tenants: only policies of the namespace \
             {own_namespace} may set it"
        )
    } else {
        return None;
    };
    Some((c::RESERVED_FIELD, message))
}

#[cfg(test)]
mod tests;
