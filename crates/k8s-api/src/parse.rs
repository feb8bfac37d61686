//! Parsing of policies from YAML: one or more documents in one text.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    error::Error,
    retention_policy::{API_VERSION, KIND, RetentionPolicy, Spec},
};

/// A document of a file: a policy with the fields that a cluster adds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
    /// Accepted, because a cluster writes it, and ignored.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// Parses the policies in `yaml`, in their order. Does not validate them.
///
/// # Errors
/// [`Error::Syntax`] for the first document that is not a policy: fix the text.
pub fn parse(yaml: &str) -> Result<Vec<RetentionPolicy>, Error> {
    let documents = split_documents(yaml);
    documents
        .iter()
        .map(|document| parse_document(document))
        .collect()
}

fn parse_document(document: &str) -> Result<RetentionPolicy, Error> {
    let options = serde_saphyr::Options {
        with_snippet: false,
        ..serde_saphyr::Options::default()
    };
    let parsed: Document = serde_saphyr::from_str_with_options(document, options)
        .map_err(|error| Error::Syntax(with_line(&error.to_string(), document)))?;
    parsed.into_policy()
}

impl Document {
    fn into_policy(self) -> Result<RetentionPolicy, Error> {
        let mut policy = RetentionPolicy {
            metadata: self.metadata,
            spec: self.spec,
            status: None,
        };
        let name = policy.name();
        if self.kind != KIND {
            let kind = self.kind;
            let message = format!("{name}: kind is {kind:?}: only {KIND} objects are taken here");
            return Err(Error::Syntax(message));
        }
        if self.api_version != API_VERSION {
            let version = self.api_version;
            let message = format!("{name}: apiVersion is {version:?}: write {API_VERSION}");
            return Err(Error::Syntax(message));
        }
        let namespace = policy.namespace().to_owned();
        policy.metadata.namespace = Some(namespace);
        Ok(policy)
    }
}

/// Adds the line to the message for an unknown field or value, which the parser does not report: the
/// first line with the quoted word.
fn with_line(message: &str, document: &str) -> String {
    let quoted = message.split('`').nth(1).filter(|word| !word.is_empty());
    let unknown = message.starts_with("unknown") && !message.contains(" at line ");
    let line = quoted.filter(|_| unknown).and_then(|word| {
        let mut lines = document.lines();
        lines.position(|line| !line.trim_start().starts_with('#') && line.contains(word))
    });
    match line {
        Some(index) => format!("line {}: {message}", index + 1),
        None => message.to_owned(),
    }
}

/// Splits `yaml` into its documents that are not empty. Each begins with as many empty lines as there are
/// lines before it, so that line numbers in errors are those of the whole text.
fn split_documents(yaml: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in yaml.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            documents.push("\n".repeat(number));
        }
        let text = line.strip_prefix("---").unwrap_or(line);
        let document = documents.last_mut().expect("there is always a document");
        document.push_str(text);
        document.push('\n');
    }
    documents.retain(|document| document.lines().any(has_content));
    documents
}

/// Returns true for a line that is more than a comment or an end marker.
fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && line != "..."
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
                           metadata: {name: a}\nspec: {tiers: {hot: {maxAge: 1h}}}\n";

    #[test]
    fn one_text_holds_many_policies() {
        let yaml = format!("# both\n---\n{MINIMAL}---\n# nothing\n--- # two\n{MINIMAL}---\n");
        assert_eq!(parse(&yaml).unwrap().len(), 2);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let yaml = format!("{MINIMAL}---\n{}", MINIMAL.replace("hot:", "hott:"));
        let error = parse(&yaml).unwrap_err().to_string();
        assert!(error.contains("hott"), "{error}");
        assert!(error.contains("line 9"), "{error}");
    }

    #[test]
    fn fields_that_a_cluster_adds_are_ignored() {
        let yaml = MINIMAL.replace("{name: a}", "{name: a, uid: x, labels: {b: c}}")
            + "status: {observedGeneration: 3}\n";
        assert_eq!(parse(&yaml).unwrap()[0].full_name(), "default/a");
    }
}
