//! Prometheus' text format.

use std::fmt::Write as _;

/// Samples by name: those of one name are consecutive, after the line with its type.
#[derive(Default)]
pub(super) struct Exposition {
    families: Vec<(&'static str, &'static str, String)>,
}

impl Exposition {
    /// Adds a sample.
    pub(super) fn one(&mut self, name: &'static str, kind: &'static str, labels: &[(&str, String)], value: f64) {
        let family = match self.families.iter_mut().find(|family| family.0 == name) {
            Some(family) => family,
            None => {
                self.families.push((name, kind, String::new()));
                self.families.last_mut().expect("pushed above")
            }
        };
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(family.2, "{name}{labels} {value}");
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.families.into_iter().map(|(name, kind, samples)| format!("# TYPE {name} {kind}\n{samples}")).collect()
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_are_consecutive() {
        let mut text = Exposition::default();
        text.one("b", "gauge", &[("x", "1\"".to_owned())], 2.0);
        text.one("a", "counter", &[], 0.5);
        text.one("b", "gauge", &[("x", "2".to_owned())], 3.0);
        assert_eq!(text.finish(), "# TYPE b gauge\nb{x=\"1\\\"\"} 2\nb{x=\"2\"} 3\n# TYPE a counter\na 0.5\n");
    }
}
