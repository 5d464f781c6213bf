//! Prometheus' text format.

use std::fmt::Write as _;

use super::histogram::Histogram;

/// Samples by name: those of one name are consecutive, after the line with its type.
#[derive(Default)]
pub(super) struct Exposition {
    families: Vec<(&'static str, &'static str, String)>,
}

impl Exposition {
    /// Adds a sample.
    pub(super) fn one(&mut self, name: &'static str, kind: &'static str, labels: &[(&str, String)], value: f64) {
        let samples = self.family(name, kind);
        let _ = writeln!(samples, "{name}{} {value}", braced(labels, None));
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, name: &'static str, labels: &[(&str, String)], histogram: &Histogram) {
        let samples = self.family(name, "histogram");
        for (bound, count) in &histogram.bounds {
            let _ = writeln!(samples, "{name}_bucket{} {count}", braced(labels, Some(&bound.to_string())));
        }
        let Histogram { count, sum, .. } = histogram;
        let _ = writeln!(samples, "{name}_bucket{} {count}", braced(labels, Some("+Inf")));
        let _ = writeln!(samples, "{name}_sum{} {sum}", braced(labels, None));
        let _ = writeln!(samples, "{name}_count{} {count}", braced(labels, None));
    }

    /// The samples of a name.
    fn family(&mut self, name: &'static str, kind: &'static str) -> &mut String {
        let at = self.families.iter().position(|family| family.0 == name).unwrap_or_else(|| {
            self.families.push((name, kind, String::new()));
            self.families.len() - 1
        });
        &mut self.families[at].2
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.families.into_iter().map(|(name, kind, samples)| format!("# TYPE {name} {kind}\n{samples}")).collect()
    }
}

/// Labels as text. `bound`: of a bucket of a histogram.
fn braced(labels: &[(&str, String)], bound: Option<&str>) -> String {
    let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    let labels: Vec<String> = labels.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_buckets_sum_and_count() {
        let mut text = Exposition::default();
        let histogram = Histogram { bounds: vec![(16e-6, 1), (0.25, 3)], count: 4, sum: 1.5 };
        text.histogram("h", &[("x", "y".to_owned())], &histogram);
        let expected = "# TYPE h histogram\nh_bucket{x=\"y\",le=\"0.000016\"} 1\nh_bucket{x=\"y\",le=\"0.25\"} 3\n\
                        h_bucket{x=\"y\",le=\"+Inf\"} 4\nh_sum{x=\"y\"} 1.5\nh_count{x=\"y\"} 4\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn samples_of_a_name_are_consecutive() {
        let mut text = Exposition::default();
        text.one("b", "gauge", &[("x", "1\"".to_owned())], 2.0);
        text.one("a", "counter", &[], 0.5);
        text.one("b", "gauge", &[("x", "2".to_owned())], 3.0);
        assert_eq!(text.finish(), "# TYPE b gauge\nb{x=\"1\\\"\"} 2\nb{x=\"2\"} 3\n# TYPE a counter\na 0.5\n");
    }
}
